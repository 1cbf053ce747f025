"""What new_tables_are_closed finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "new_tables_are_closed",
        "a visitor",
        near_miss=ORGANIZATIONS + "GRANT ALL ON public.organizations TO service_role",
        violation="GRANT SELECT ON public.organizations TO anon",
        object="public.organizations",
        problem="anon may SELECT it",
        mended_by="REVOKE ALL ON public.organizations FROM anon",
    ),
    Case(
        "new_tables_are_closed",
        "a column for everybody",
        near_miss=ORGANIZATIONS,
        violation="GRANT UPDATE (settings) ON public.organizations TO PUBLIC",
        object="public.organizations",
        problem="PUBLIC may UPDATE it",
        mended_by="REVOKE ALL ON public.organizations FROM PUBLIC",
    ),
)

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "new_tables_are_closed",
        "truncate",
        near_miss="GRANT ALL ON public.organizations, public.migration_log TO service_role",
        violation="GRANT TRUNCATE ON public.organizations TO authenticated",
        object="public.organizations",
        problem="authenticated may TRUNCATE it",
        mended_by="^REVOKE ALL ON public.organizations FROM authenticated",
    ),
    Case(
        "new_tables_are_closed",
        "sequence",
        violation="GRANT USAGE ON SEQUENCE public.migration_log_id_seq TO anon",
        object="public.migration_log_id_seq",
        problem="anon may USAGE it",
        mended_by="^REVOKE ALL ON public.migration_log_id_seq FROM anon",
    ),
)
