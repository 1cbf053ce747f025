"""What new_table_has_its_constraints finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "new_table_has_its_constraints",
        "not unique",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations DROP CONSTRAINT organizations_name_key;"
        "CREATE UNIQUE INDEX ON public.organizations (lower(name))",
        object="public.organizations",
        problem=r"has no constraint UNIQUE \(name\)",
        mended_by=r"ALTER TABLE public.organizations ADD UNIQUE \(name\)",
    ),
)

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "new_table_has_its_constraints",
        "double memberships",
        near_miss="ALTER TABLE public.user_organizations ADD CHECK (role <> '')",
        violation="ALTER TABLE public.user_organizations "
        "DROP CONSTRAINT user_organizations_user_id_organization_id_key",
        object="public.user_organizations",
        problem=r"has no constraint UNIQUE \(user_id, organization_id\)",
        mended_by=r"^ALTER TABLE public.user_organizations ADD UNIQUE \(user_id, organization_id\)",
    ),
    Case(
        "new_table_has_its_constraints",
        "no key, as others have",
        violation="ALTER TABLE public.user_organizations DROP CONSTRAINT user_organizations_pkey",
        object="public.user_organizations",
        problem=r"has no constraint PRIMARY KEY \(id\)",
        mended_by=r"^ALTER TABLE public.user_organizations ADD PRIMARY KEY \(id\)",
    ),
    Case(
        "new_table_has_its_constraints",
        "user cannot be deleted",
        violation="ALTER TABLE public.user_organizations DROP CONSTRAINT user_organizations_user_id_fkey,"
        " ADD FOREIGN KEY (user_id) REFERENCES public.users (id)",
        object="public.user_organizations",
        problem=r"has no constraint FOREIGN KEY \(user_id\) REFERENCES users\(id\) ON DELETE CASCADE",
        mended_by="^ALTER TABLE public.user_organizations ADD FOREIGN KEY .*",
    ),
)
