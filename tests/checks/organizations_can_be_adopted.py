"""What organizations_can_be_adopted finds, and what it does not."""

from __future__ import annotations

from phase_1.inventory import DEFAULT_ORGANIZATION
from tests.checks.states import ORGANIZATIONS
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "organizations_can_be_adopted",
        "name",
        near_miss=ORGANIZATIONS,
        violation="UPDATE public.organizations SET name = 'Default Organization'",
        object="public.organizations",
        problem="the name Default Organization belongs to the organization acme",
        mended_by="UPDATE public.organizations SET slug = 'default-org' WHERE slug = 'acme'",
    ),
    Case(
        "organizations_can_be_adopted",
        "id",
        near_miss=ORGANIZATIONS
        + f"UPDATE public.organizations SET id = '{DEFAULT_ORGANIZATION}', name = 'Default Organization',"
        " slug = 'default-org'",
        violation="UPDATE public.organizations SET name = 'Acme', slug = 'acme'",
        object="public.organizations",
        problem="the id of the default organization belongs to the organization acme",
        mended_by="rename that one",
        by_hand="UPDATE public.organizations SET id = '11111111-1111-4111-8111-111111111111'",
    ),
)
