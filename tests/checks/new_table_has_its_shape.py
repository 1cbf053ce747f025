"""What new_table_has_its_shape finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import LOG, ORGANIZATIONS
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "new_table_has_its_shape",
        "a column more",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations ADD COLUMN country text",
        object="public.organizations.country",
        problem="is a column that Phase 1 does not know",
        mended_by="ALTER TABLE public.organizations RENAME TO former_organizations",
    ),
    Case(
        "new_table_has_its_shape",
        "a column less",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations DROP COLUMN slug",
        object="public.organizations.slug",
        problem="there is no such column",
        mended_by="ALTER TABLE public.organizations RENAME TO former_organizations",
    ),
    Case(
        "new_table_has_its_shape",
        "numbers for ids",
        near_miss="CREATE TABLE public.organisations (id serial PRIMARY KEY, name text)",
        violation="SET ROLE app_owner; CREATE TABLE public.organizations (id serial PRIMARY KEY,"
        " name text NOT NULL UNIQUE,"
        " slug text NOT NULL UNIQUE, is_active boolean)",
        object=r"public.organizations\.(id|settings|created_at|updated_at|is_active)",
        problem="is integer NOT NULL DEFAULT .* instead of uuid NOT NULL DEFAULT|no such column|is boolean instead of",
        mended_by="ALTER TABLE public.organizations RENAME TO former_organizations",
    ),
    Case(
        "new_table_has_its_shape",
        "another log",
        near_miss=LOG,
        violation="SET ROLE app_owner; DROP TABLE public.migration_log;"
        " CREATE TABLE public.migration_log (id text PRIMARY KEY, sql text)",
        object=r"public.migration_log\.\w+",
        problem="is text NOT NULL instead of bigint NOT NULL|no such column|does not know",
        mended_by="ALTER TABLE public.migration_log RENAME TO former_migration_log",
    ),
)

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "new_table_has_its_shape",
        "may be null",
        near_miss="ALTER TABLE public.user_organizations ALTER role SET NOT NULL",
        violation="ALTER TABLE public.user_organizations ALTER role DROP NOT NULL",
        object="public.user_organizations.role",
        problem="is text DEFAULT 'member'::text instead of text NOT NULL DEFAULT 'member'::text",
        mended_by="give it that shape",
        by_hand="ALTER TABLE public.user_organizations ALTER role SET NOT NULL",
    ),
    Case(
        "new_table_has_its_shape",
        "other default",
        violation="ALTER TABLE public.user_organizations ALTER role SET DEFAULT 'admin'",
        object="public.user_organizations.role",
        problem="DEFAULT 'admin'::text instead of text NOT NULL DEFAULT 'member'::text",
        mended_by="give it that shape",
        by_hand="ALTER TABLE public.user_organizations ALTER role SET DEFAULT 'member'",
    ),
)
