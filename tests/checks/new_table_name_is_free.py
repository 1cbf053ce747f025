"""What new_table_name_is_free finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import logged
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "new_table_name_is_free",
        "memberships beside what Phase 1 did",
        near_miss=logged("analyze_table(users)"),
        violation="CREATE TABLE public.user_organizations (id uuid)",
        object="public.user_organizations",
        problem="is there already, and the log does not say that Phase 1 created it",
        mended_by="ALTER TABLE public.user_organizations RENAME TO former_user_organizations",
        stages=("preflight",),
    ),
    Case(
        "new_table_name_is_free",
        "procedure beside what Phase 1 did",
        near_miss=logged("analyze_table(users)"),
        violation="CREATE PROCEDURE public.get_user_organization_id(uuid) LANGUAGE sql AS 'SELECT $1'",
        object=r"public.get_user_organization_id\(uuid\)",
        problem="is there already, and the log does not say that Phase 1 created it",
        mended_by=r"ALTER ROUTINE public.get_user_organization_id\(uuid\) RENAME TO former_get_user_organization_id",
        stages=("preflight",),
    ),
    Case(
        "new_table_name_is_free",
        "memberships",
        near_miss="CREATE SCHEMA attic; CREATE TABLE attic.user_organizations (user_id uuid)",
        violation="CREATE TABLE public.user_organizations (id uuid PRIMARY KEY, organization_id uuid);"
        "CREATE INDEX user_organizations_organization_id_idx ON public.user_organizations (organization_id)",
        object="public.user_organizations",
        problem="is there already, and the log does not say that Phase 1 created it",
        mended_by="ALTER TABLE public.user_organizations RENAME TO former_user_organizations",
    ),
    Case(
        "new_table_name_is_free",
        "function",
        near_miss="CREATE FUNCTION public.get_user_organization_id(text) RETURNS uuid"
        " LANGUAGE sql AS 'SELECT NULL::uuid'",
        violation="CREATE FUNCTION public.get_user_organization_id(uuid) RETURNS uuid LANGUAGE sql AS 'SELECT $1'",
        object=r"public.get_user_organization_id\(uuid\)",
        problem="is there already, and the log does not say that Phase 1 created it",
        mended_by=r"ALTER ROUTINE public.get_user_organization_id\(uuid\) RENAME TO former_get_user_organization_id",
    ),
    *(
        Case(
            "new_table_name_is_free",
            f"type {name}",
            near_miss=f"CREATE SCHEMA attic; CREATE TYPE attic.{name} AS ENUM ('a')",
            violation=f"CREATE {kind}",
            object=f"type public.{name}",
            problem="has the name of a table to come",
            mended_by=f"ALTER TYPE public.{name} RENAME TO former_{name}",
        )
        for name, kind in (
            ("organizations", "TYPE public.organizations AS ENUM ('a')"),
            ("user_organizations", "DOMAIN public.user_organizations AS text"),
            ("migration_log", "TYPE public.migration_log AS RANGE (SUBTYPE = int4)"),
        )
    ),
    Case(
        "new_table_name_is_free",
        "sequence",
        violation="CREATE SEQUENCE public.migration_log_id_seq",
        object="public.migration_log_id_seq",
        problem="has the name of the sequence of the log to come",
        mended_by="ALTER TABLE public.migration_log_id_seq RENAME TO former_migration_log_id_seq",
    ),
)
