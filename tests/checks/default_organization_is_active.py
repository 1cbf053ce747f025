"""What default_organization_is_active finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "default_organization_is_active",
        "inactive",
        near_miss=ORGANIZATIONS + "INSERT INTO public.organizations (name, slug) VALUES ('Ours', 'default-org');"
        "UPDATE public.organizations SET is_active = FALSE WHERE slug = 'acme'",
        violation="UPDATE public.organizations SET is_active = NULL WHERE slug = 'default-org'",
        object="public.organizations",
        problem="default-org is there already and is not active",
        mended_by="UPDATE public.organizations SET is_active = true WHERE slug = 'default-org'",
    ),
)
