"""What default_organization_is_there finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import SECOND
from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "default_organization_is_there",
        "other slug",
        near_miss=SECOND + "UPDATE public.organizations SET name = 'Ours' WHERE slug = 'default-org'",
        violation="UPDATE public.organizations SET slug = 'ours' WHERE slug = 'default-org'",
        object="public.organizations",
        problem="has no organization with the slug default-org",
        mended_by="UPDATE public.organizations SET slug = 'default-org' WHERE slug = 'ours'",
    ),
)
