"""What is to be true afterwards: every check of ``--verify`` finds its violation, and nothing but that."""

from __future__ import annotations

import re
from contextlib import closing

import pytest
from psycopg import errors

from phase_1.findings import ERROR, NOTICE, Finding
from phase_1.inventory import DEFAULT_ORGANIZATION, TABLES
from phase_1.problems import DONE, VIOLATIONS
from tests.plugins.database import OWNER, Database, Templates
from tests.support.cases import Case, names, params, workbench
from tests.support.runner import run

SECOND = (
    "INSERT INTO public.organizations (id, name, slug) VALUES ('11111111-1111-4111-8111-111111111111', 'Acme', 'acme');"
)

_DENY = (
    "CREATE POLICY phase_1_denied ON public.organizations AS RESTRICTIVE FOR ALL TO anon, authenticated USING (FALSE)"
)


def invalid_index(database: Database) -> None:
    """An index of Phase 1 as an interrupted REINDEX or CREATE INDEX CONCURRENTLY leaves it."""
    database.execute("DROP INDEX public.idx_uploads_client_user_id")
    with closing(database.connect(autocommit=False)) as writer, closing(database.connect()) as builder:
        writer.execute("LOCK TABLE public.uploads IN ROW EXCLUSIVE MODE")
        builder.execute("SET lock_timeout = '10ms'")
        with pytest.raises(errors.LockNotAvailable):
            builder.execute(
                "CREATE INDEX CONCURRENTLY idx_uploads_client_user_id ON public.uploads (client_id, user_id)"
            )


def _function(name: str, arguments: str, change: str, problem: str, near_miss: str = "") -> Case:
    return Case(
        "functions_are_hardened",
        change.lower(),
        near_miss=near_miss,
        violation=f"ALTER FUNCTION public.{name}({arguments}) {change}",
        object=f"public.{name}",
        problem=problem,
        mended_by=rf"DROP FUNCTION public.{name}\({arguments.replace(' ', '')}\)",
    )


def integrity_of_fewer_tables(database: Database) -> None:
    """The function as it was made by a run that left email_logs out."""
    [(definition,)] = database.query(
        "SELECT pg_get_functiondef('public.validate_client_data_integrity()'::regprocedure)"
    )
    assert ", 'email_logs'" in definition
    database.execute(definition.replace(", 'email_logs'", ""))


def _denial(title: str, violation: str) -> Case:
    """A policy phase_1_denied that is there and denies less than it has to."""
    return Case(
        "new_tables_have_row_security",
        title,
        violation=violation,
        object="public.organizations",
        problem="has no policy phase_1_denied",
        mended_by=f"DROP POLICY phase_1_denied ON public.organizations; {re.escape(_DENY)}",
    )


def _pin(title: str, command: str, violation: str, near_miss: str = "") -> Case:
    """A pin that is there and lets a command write more than it has to."""
    name = "phase_1_client_pinned" + ("" if command == "insert" else f"_{command}")
    return Case(
        "writes_are_pinned",
        title,
        near_miss=near_miss,
        violation=violation,
        object="public.uploads",
        problem=f"the roles of the web API may {command} rows of any client",
        mended_by=f"^DROP POLICY {name} .*; CREATE POLICY {name} .*",
        variant="deployed",
    )


#: A role that was written to last is read last.
_ANON_LAST = "ALTER ROLE anon NOLOGIN;"

_STATES = "('started', 'completed', 'failed', 'skipped')"

CASES: tuple[Case, ...] = (
    Case(
        "new_objects_are_there",
        "table",
        near_miss="CREATE SCHEMA attic; CREATE TABLE attic.user_organizations (id uuid)",
        violation="DROP TABLE public.user_organizations",
        object="public.user_organizations",
        problem="there is no such table",
        mended_by="^run the migration again",
    ),
    Case(
        "new_objects_are_there",
        "log",
        violation="ALTER TABLE public.migration_log RENAME TO lost",
        object="public.migration_log",
        problem="there is no such table",
        mended_by="restore it from a backup",
        by_hand="ALTER TABLE public.lost RENAME TO migration_log",
    ),
    Case(
        "new_objects_are_there",
        "function",
        near_miss="CREATE FUNCTION public.validate_client_access(text) RETURNS boolean LANGUAGE sql AS 'SELECT TRUE'",
        violation="DROP FUNCTION public.validate_client_access(uuid, uuid)",
        object=r"public.validate_client_access\(uuid, uuid\)",
        problem="there is no such function",
        mended_by="^run the migration again",
    ),
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
    Case(
        "log_takes_known_states_only",
        "any state",
        violation="ALTER TABLE public.migration_log DROP CONSTRAINT migration_log_status_check,"
        f" ADD CHECK (operation NOT IN {_STATES}), ADD EXCLUDE (id WITH =) WHERE (status IN {_STATES});"
        f"CREATE TABLE public.other (status text CHECK (status IN {_STATES}))",
        object="public.migration_log",
        problem="takes a status other than started, completed, failed, skipped",
        mended_by=r"^ALTER TABLE public.migration_log ADD CHECK \(.*\)",
    ),
    Case(
        "log_numbers_go_on",
        "restored without its sequence",
        near_miss="INSERT INTO public.migration_log (phase, operation, status) VALUES ('phase_2', 'x', 'completed')",
        violation="ALTER TABLE public.migration_log ALTER COLUMN id RESTART WITH 1",
        object="public.migration_log.id",
        problem="its sequence would give 1 to the next entry",
        mended_by=r"SELECT setval\('public.migration_log_id_seq', \d+\)",
    ),
    Case(
        "log_is_written_by_who_owns_the_tables",
        "everybody",
        near_miss="GRANT SELECT ON public.migration_log TO {role}; GRANT UPDATE (name) ON public.products TO {role}",
        violation="GRANT UPDATE ON public.migration_log TO PUBLIC",
        object="public.migration_log",
        problem="^PUBLIC may write to it",
        mended_by="^REVOKE .* FROM PUBLIC",
    ),
    Case(
        "default_organization_is_there",
        "other slug",
        near_miss=SECOND + "UPDATE public.organizations SET name = 'Ours' WHERE slug = 'default-org'",
        violation="UPDATE public.organizations SET slug = 'ours' WHERE slug = 'default-org'",
        object="public.organizations",
        problem="has no organization with the slug default-org",
        mended_by="UPDATE public.organizations SET slug = 'default-org' WHERE slug = 'ours'",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "may be null",
        near_miss="ALTER TABLE public.uploads ADD COLUMN former_client_id uuid",
        violation="ALTER TABLE public.uploads ALTER client_id DROP NOT NULL;UPDATE public.uploads SET client_id = NULL",
        object="public.uploads.client_id",
        problem="may be NULL",
        mended_by="^run the migration again",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "never had its default",
        near_miss="ALTER TABLE public.uploads ALTER client_id DROP DEFAULT",
        violation="DELETE FROM public.migration_log WHERE operation = 'add_client_id(uploads)'",
        object="public.uploads.client_id",
        problem="has the default NULL instead of the default organization",
        mended_by="^run the migration again",
    ),
    Case(
        "default_is_gone",
        "dropped",
        # Without its entry in the log it was never given by Phase 1.
        near_miss="ALTER TABLE public.organizations ALTER id DROP DEFAULT;"
        "ALTER TABLE public.products ALTER client_id DROP DEFAULT;"
        "DELETE FROM public.migration_log WHERE operation = 'add_client_id(products)'",
        violation="ALTER TABLE public.uploads ALTER client_id DROP DEFAULT",
        object="public.uploads.client_id",
        problem=r"has no default any more: an insert that does not name the client fails \(23502\)",
        mended_by="ALTER TABLE public.uploads ALTER COLUMN client_id SET DEFAULT '[^']*'",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "other default",
        near_miss=SECOND,
        violation="ALTER TABLE public.uploads ALTER client_id SET DEFAULT '11111111-1111-4111-8111-111111111111'",
        object="public.uploads.client_id",
        problem="has the default '11111111-1111-4111-8111-111111111111'::uuid instead of the default organization",
        mended_by="^ALTER TABLE public.uploads ALTER COLUMN client_id SET DEFAULT '[^']*'",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "other type",
        violation="ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_client_id_fkey,"
        " ALTER client_id DROP DEFAULT, ALTER client_id TYPE text",
        object="public.email_logs.client_id",
        problem="is not of type uuid",
        mended_by="^run the migration again",
        by_hand="ALTER TABLE public.email_logs ALTER client_id TYPE uuid USING client_id::uuid;"
        f"ALTER TABLE public.email_logs ALTER client_id SET DEFAULT '{DEFAULT_ORGANIZATION}'",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "no column",
        violation="ALTER TABLE public.email_logs DROP COLUMN client_id",
        object="public.email_logs.client_id",
        problem="there is no such column",
        mended_by="^run the migration again",
    ),
    Case(
        "client_id_references_organizations",
        "not at all",
        near_miss="ALTER TABLE public.uploads RENAME CONSTRAINT uploads_client_id_fkey TO of_client",
        violation="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey",
        object="public.products.client_id",
        problem="has no foreign key to organizations",
        mended_by="^run the migration again",
        by_hand="ALTER TABLE public.uploads RENAME CONSTRAINT of_client TO uploads_client_id_fkey",
    ),
    Case(
        "client_id_references_organizations",
        "not validated",
        near_miss="ALTER TABLE public.uploads ADD sponsor uuid REFERENCES public.organizations (id)",
        violation="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey,"
        " ADD CONSTRAINT products_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.organizations (id)"
        " ON DELETE RESTRICT NOT VALID",
        object="public.products.client_id",
        problem="has a foreign key that was never validated",
        mended_by="^run the migration again",
    ),
    Case(
        "client_id_references_organizations",
        "not enforced",
        violation="ALTER TABLE public.products ALTER CONSTRAINT products_client_id_fkey NOT ENFORCED",
        object="public.products.client_id",
        problem="has a foreign key that is not enforced",
        mended_by="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey",
        pg=">= 18",
    ),
    Case(
        "client_id_references_organizations",
        "cascades",
        near_miss="CREATE TABLE public.other (id uuid PRIMARY KEY);"
        "INSERT INTO public.other SELECT id FROM public.organizations;"
        "ALTER TABLE public.uploads ADD FOREIGN KEY (client_id) REFERENCES public.other (id)",
        violation="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey,"
        " ADD CONSTRAINT products_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.organizations (id)"
        " ON DELETE CASCADE",
        object="public.products.client_id",
        problem="has a foreign key that does not restrict the deletion of an organization",
        mended_by="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey",
        by_hand="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey; DROP TABLE public.other CASCADE",
    ),
    Case(
        "indexes_are_there",
        "dropped",
        near_miss="CREATE INDEX more ON public.products (client_id, name)",
        violation="DROP INDEX public.idx_products_client_ean",
        object="public.idx_products_client_ean",
        problem="there is no such index on public.products",
        mended_by="^run the migration again",
    ),
    Case(
        "indexes_are_there",
        "of another table",
        violation="DROP INDEX public.idx_products_client_ean; CREATE TABLE public.other (client_id uuid, ean text);"
        "CREATE INDEX idx_products_client_ean ON public.other (client_id, ean)",
        object="public.idx_products_client_ean",
        problem="there is no such index on public.products",
        mended_by="^run the migration again",
        by_hand="DROP TABLE public.other",
    ),
    Case(
        "indexes_are_there",
        "invalid",
        violation=invalid_index,
        object="public.idx_uploads_client_user_id",
        problem="is invalid: it costs every write and serves no query",
        mended_by="^run the migration again",
    ),
    Case(
        "indexes_are_there",
        "taken for invalid",
        violation="UPDATE pg_index SET indisvalid = FALSE"
        " WHERE indexrelid = 'public.idx_uploads_client_user_id'::regclass",
        object="public.idx_uploads_client_user_id",
        problem="is invalid: it costs every write and serves no query",
        mended_by="^run the migration again",
    ),
    Case(
        "indexes_are_there",
        "unique",
        violation="DROP INDEX public.idx_uploads_client_created_at;"
        "CREATE UNIQUE INDEX idx_uploads_client_created_at ON public.uploads (client_id, created_at DESC)",
        object="public.idx_uploads_client_created_at",
        problem="is another index: CREATE UNIQUE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_uploads_client_created_at",
    ),
    Case(
        "indexes_are_there",
        "columns swapped",
        near_miss="REINDEX INDEX public.idx_products_client_ean; CLUSTER public.products USING idx_products_client_ean",
        violation="DROP INDEX public.idx_products_client_ean;"
        "CREATE INDEX idx_products_client_ean ON public.products (ean, client_id)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_products_client_ean",
    ),
    Case(
        "indexes_are_there",
        "other order",
        violation="DROP INDEX public.idx_users_client_created_at;"
        "CREATE INDEX idx_users_client_created_at ON public.users (client_id, created_at)",
        object="public.idx_users_client_created_at",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_users_client_created_at",
    ),
    Case(
        "indexes_are_there",
        "other rows",
        near_miss="DROP INDEX public.idx_uploads_client_status;"
        "CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status)"
        " WHERE status IN ('processing', 'pending')",
        violation="DROP INDEX public.idx_uploads_client_status;"
        "CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status) WHERE status = 'pending'",
        object="public.idx_uploads_client_status",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_uploads_client_status",
    ),
    Case(
        "indexes_are_there",
        "of another method",
        violation="DROP INDEX public.idx_uploads_client_user_id;"
        "CREATE INDEX idx_uploads_client_user_id ON public.uploads USING brin (client_id, user_id)",
        object="public.idx_uploads_client_user_id",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_uploads_client_user_id",
    ),
    Case(
        "indexes_are_there",
        "every other row",
        violation="DROP INDEX public.idx_uploads_client_status;"
        "CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status)"
        " WHERE status NOT IN ('pending', 'processing')",
        object="public.idx_uploads_client_status",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_uploads_client_status",
    ),
    Case(
        "indexes_are_there",
        "an expression",
        violation="DROP INDEX public.idx_products_client_ean;"
        "CREATE INDEX idx_products_client_ean ON public.products (client_id, lower(ean))",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_products_client_ean",
    ),
    Case(
        "indexes_are_there",
        "a column more",
        violation="DROP INDEX public.idx_products_client_ean;"
        "CREATE INDEX idx_products_client_ean ON public.products (client_id, ean) INCLUDE (name)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_products_client_ean",
    ),
    Case(
        "foreign_keys_have_an_index",
        "organization",
        near_miss="CREATE TABLE public.bills (id int, upload_id uuid REFERENCES public.uploads (id))",
        violation="CREATE TABLE public.payments (client_id uuid CONSTRAINT payer REFERENCES public.organizations (id))",
        object="constraint payer on public.payments",
        problem="has no index that leads with its columns",
        mended_by="build the index that was left out",
        by_hand="CREATE INDEX ON public.payments (client_id)",
    ),
    Case(
        "foreign_keys_have_an_index",
        "left out",
        violation="DROP INDEX public.idx_products_client_ean;"
        "CREATE INDEX ON public.products (ean, client_id);"
        "CREATE INDEX ON public.products (client_id) WHERE is_active;"
        "CREATE INDEX broken ON public.products (client_id);"
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'public.broken'::regclass",
        object="constraint products_client_id_fkey on public.products",
        problem="has no index that leads with its columns",
        mended_by="build the index that was left out",
        by_hand="CREATE INDEX idx_products_client_ean ON public.products (client_id, ean)",
    ),
    _function("get_user_organization_id", "uuid", "VOLATILE", "is not STABLE"),
    _function("get_user_organization_id", "uuid", "SECURITY INVOKER", "is SECURITY INVOKER"),
    _function("validate_client_access", "uuid, uuid", "RESET search_path", 'does not fix search_path=""'),
    _function("validate_client_access", "uuid, uuid", "SET search_path = public", 'does not fix search_path=""'),
    _function("validate_client_data_integrity", "", "SECURITY DEFINER", "is SECURITY DEFINER"),
    _function(
        "validate_client_data_integrity",
        "",
        "RESET row_security",
        "does not fix .*row_security=off",
        near_miss="ALTER FUNCTION public.validate_client_data_integrity() SET work_mem = '64MB'",
    ),
    Case(
        "functions_are_hardened",
        "other type",
        violation="DROP FUNCTION public.validate_client_access(uuid, uuid);"
        "CREATE FUNCTION public.validate_client_access(uuid, uuid) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER"
        " SET search_path = '' AS 'SELECT $$yes$$'",
        object="public.validate_client_access",
        problem="returns text",
        mended_by=r"DROP FUNCTION public.validate_client_access\(uuid,uuid\)",
    ),
    _function("validate_client_access", "uuid, uuid", "STRICT", "is not what the migration creates"),
    Case(
        "functions_are_hardened",
        "other body",
        near_miss="ALTER FUNCTION public.validate_client_access(uuid, uuid) OWNER TO {superuser}",
        violation="CREATE OR REPLACE FUNCTION public.validate_client_access(user_id uuid, client_id uuid)"
        " RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = ''"
        " AS 'BEGIN RETURN TRUE; END'",
        object="public.validate_client_access",
        problem="is not what the migration creates: its body, its language or STRICT differs",
        mended_by=r"DROP FUNCTION public.validate_client_access\(uuid,uuid\)",
    ),
    Case(
        "functions_are_hardened",
        "other language",
        violation="CREATE OR REPLACE FUNCTION public.get_user_organization_id(user_id uuid) RETURNS uuid"
        " LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = '' AS 'SELECT user_id'",
        object="public.get_user_organization_id",
        problem="is not what the migration creates",
        mended_by=r"DROP FUNCTION public.get_user_organization_id\(uuid\)",
    ),
    Case(
        "functions_are_closed",
        "everybody",
        near_miss="GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO service_role",
        violation="GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO PUBLIC",
        object=r"public.get_user_organization_id\(uuid\)",
        problem="may be executed by PUBLIC",
        mended_by=r"^REVOKE EXECUTE ON FUNCTION public.get_user_organization_id\(uuid\) FROM PUBLIC$",
    ),
    Case(
        "functions_are_closed",
        "signed-in user",
        near_miss="GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO authenticator",
        near_miss_options=("--grant-execute-to", "authenticator"),
        options=("--grant-execute-to", "authenticator"),
        violation="GRANT EXECUTE ON FUNCTION public.validate_client_data_integrity() TO authenticated",
        object=r"public.validate_client_data_integrity\(\)",
        problem="may be executed by authenticated",
        mended_by=r"^REVOKE EXECUTE ON FUNCTION public.validate_client_data_integrity\(\) FROM authenticated",
    ),
    Case(
        "functions_are_closed",
        "made again",
        violation="ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO anon;"
        "DROP FUNCTION public.get_user_organization_id(uuid);"
        "CREATE FUNCTION public.get_user_organization_id(uuid) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER"
        " SET search_path = '' AS 'SELECT $1';"
        "REVOKE ALL ON FUNCTION public.get_user_organization_id(uuid) FROM PUBLIC",
        object=r"public.get_user_organization_id\(uuid\)",
        problem="may be executed by anon",
        mended_by=r"^REVOKE EXECUTE ON FUNCTION public.get_user_organization_id\(uuid\) FROM anon",
    ),
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
    Case(
        "new_tables_have_row_security",
        "off",
        near_miss="CREATE POLICY more ON public.user_organizations USING (TRUE)",
        violation="ALTER TABLE public.user_organizations DISABLE ROW LEVEL SECURITY",
        object="public.user_organizations",
        problem="has no row-level security",
        mended_by="^ALTER TABLE public.user_organizations ENABLE ROW LEVEL SECURITY",
    ),
    Case(
        "new_tables_have_row_security",
        "no policy",
        violation="DROP POLICY phase_1_denied ON public.organizations",
        object="public.organizations",
        problem="has no policy phase_1_denied",
        mended_by=f"^{re.escape(_DENY)}",
    ),
    Case(
        "new_tables_have_row_security",
        "of another name",  # a later step that drops phase_1_denied by its name would leave it
        violation="ALTER POLICY phase_1_denied ON public.organizations RENAME TO denied",
        object="public.organizations",
        problem="has no policy phase_1_denied",
        mended_by=f"^{re.escape(_DENY)}",
    ),
    _denial(
        "for reading only",
        "DROP POLICY phase_1_denied ON public.organizations;"
        "CREATE POLICY phase_1_denied ON public.organizations AS RESTRICTIVE FOR SELECT TO PUBLIC USING (FALSE)",
    ),
    _denial(
        "permissive",  # beside another policy it denies nothing
        "DROP POLICY phase_1_denied ON public.organizations;"
        "CREATE POLICY phase_1_denied ON public.organizations TO PUBLIC USING (FALSE)",
    ),
    _denial(
        "for one role",
        "ALTER POLICY phase_1_denied ON public.organizations TO anon",
    ),
    _denial(
        "lets through",
        "ALTER POLICY phase_1_denied ON public.organizations USING (is_active)",
    ),
    _denial(
        "lets write",
        "ALTER POLICY phase_1_denied ON public.organizations WITH CHECK (TRUE)",
    ),
    Case(
        "writes_are_pinned",
        "dropped",
        near_miss="DROP POLICY uploads_read ON public.uploads",
        violation=_ANON_LAST + "DROP POLICY phase_1_client_pinned ON public.uploads",
        object="public.uploads",
        problem="the roles of the web API may insert rows of any client",
        mended_by="^CREATE POLICY phase_1_client_pinned ON public.uploads AS RESTRICTIVE FOR INSERT"
        " TO anon, authenticated .*",
        variant="deployed",
    ),
    _pin(
        "altered",
        "update",
        "ALTER POLICY phase_1_client_pinned_update ON public.uploads WITH CHECK (TRUE)",
        near_miss="ALTER POLICY phase_1_client_pinned ON public.uploads RENAME TO one_of_phase_2",
    ),
    _pin(
        "altered, whom it lets take",
        "update",
        "ALTER POLICY phase_1_client_pinned_update ON public.uploads USING (TRUE)",
    ),
    _pin(
        "permissive",
        "insert",
        "DROP POLICY phase_1_client_pinned ON public.uploads;"
        "CREATE POLICY phase_1_client_pinned ON public.uploads FOR INSERT TO anon, authenticated"
        f" WITH CHECK (client_id = '{DEFAULT_ORGANIZATION}')",
    ),
    _pin(
        "for another command",
        "delete",
        "DROP POLICY phase_1_client_pinned_delete ON public.uploads;"
        "CREATE POLICY phase_1_client_pinned_delete ON public.uploads AS RESTRICTIVE FOR SELECT TO anon, authenticated"
        f" USING (client_id = '{DEFAULT_ORGANIZATION}')",
    ),
    _pin(
        "for one role",
        "delete",
        "ALTER POLICY phase_1_client_pinned_delete ON public.uploads TO anon",
    ),
    Case(
        "writes_are_pinned",
        "row security later",
        near_miss="CREATE TABLE public.news (client_id uuid); ALTER TABLE public.news ENABLE ROW LEVEL SECURITY",
        violation="ALTER TABLE public.uploads ENABLE ROW LEVEL SECURITY",
        object="public.uploads",
        problem="the roles of the web API may (insert|update|delete) rows of any client",
        mended_by="^CREATE POLICY phase_1_client_pinned.*",
    ),
    Case(
        "statistics_are_there",
        "gone",
        near_miss="DELETE FROM public.email_logs;"
        "DELETE FROM pg_statistic WHERE starelid = 'public.email_logs'::regclass;"
        "UPDATE pg_class SET reltuples = 0 WHERE oid = 'public.email_logs'::regclass",
        violation="CREATE SCHEMA attic; CREATE TABLE attic.uploads AS TABLE public.uploads; ANALYZE attic.uploads;"
        "GRANT SELECT ON attic.uploads TO PUBLIC;"
        "DELETE FROM pg_statistic WHERE starelid = 'public.uploads'::regclass"
        " AND staattnum = (SELECT attnum FROM pg_attribute WHERE attrelid = starelid AND attname = 'client_id')",
        object="public.uploads.client_id",
        problem="has no statistics",
        mended_by="ANALYZE public.uploads",
    ),
    Case(
        "clients_are_isolated",
        "second client",
        near_miss="UPDATE public.organizations SET name = 'Ours', settings = '{\"a\": 1}'",
        violation=SECOND,
        object="public.organizations",
        problem="there is more than one organization, and Phase 1 does not keep them apart: who may read a table reads "
        "the rows of every client$",
        mended_by=r"do not give a second client access before Phase 2 \(row-level security by client\)",
        by_hand="CREATE POLICY of_client ON public.uploads USING (client_id = id)",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "truncate",
        near_miss=SECOND + "GRANT SELECT, REFERENCES ON public.uploads TO anon",
        violation=_ANON_LAST + "GRANT TRUNCATE ON public.uploads TO authenticated, anon",
        object="public.uploads",
        problem="anon, authenticated may TRUNCATE it",
        mended_by="^REVOKE TRUNCATE ON public.uploads FROM anon, authenticated",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "some columns",
        near_miss=SECOND + "GRANT SELECT (filename) ON public.uploads TO anon",
        violation=_ANON_LAST + "GRANT INSERT (filename) ON public.uploads TO authenticated, anon",
        object="public.uploads",
        problem="anon, authenticated may write rows of every client: it has no row-level security",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.uploads FROM anon, authenticated",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "to delete only",
        near_miss=SECOND,
        violation="GRANT DELETE ON public.uploads TO anon",
        object="public.uploads",
        problem="anon may write rows of every client: it has no row-level security",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.uploads FROM anon",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "no row security",
        near_miss="GRANT ALL ON public.uploads TO anon; REVOKE TRUNCATE ON public.uploads FROM anon",
        violation=SECOND,
        object="public.uploads",
        problem="anon may write rows of every client: it has no row-level security",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.uploads FROM anon",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "view",
        near_miss=SECOND + "CREATE VIEW public.names AS SELECT id, filename FROM public.uploads;"
        "GRANT SELECT ON public.names TO anon;"
        "CREATE VIEW public.counts AS SELECT count(*) FROM public.uploads; GRANT ALL ON public.counts TO anon;"
        "CREATE TABLE public.inbox (id int); CREATE VIEW public.mails AS SELECT id FROM public.inbox;"
        "CREATE RULE keep AS ON DELETE TO public.inbox WHERE EXISTS (SELECT FROM public.uploads) DO INSTEAD NOTHING;"
        "GRANT ALL ON public.mails TO anon",
        violation="GRANT UPDATE (filename) ON public.names TO anon",
        object="public.names",
        problem="anon may write public.uploads through this view",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.names FROM anon",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "view to delete by",
        near_miss=SECOND + "CREATE VIEW public.names AS SELECT id, filename FROM public.uploads",
        violation=_ANON_LAST + "GRANT DELETE ON public.names TO authenticated, anon",
        object="public.names",
        problem="anon, authenticated may write public.uploads through this view",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.names FROM anon, authenticated",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "view over a view",
        near_miss=SECOND + "CREATE VIEW public.some_names AS SELECT id, filename FROM public.uploads;"
        "CREATE VIEW public.names AS SELECT * FROM public.some_names; GRANT SELECT ON public.names TO anon",
        violation="GRANT INSERT ON public.names TO anon",
        object="public.names",
        problem="anon may write public.uploads through this view",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.names FROM anon",
    ),
    *(
        Case(
            "nothing_goes_around_the_pins",
            f"partition, {title}",
            near_miss=SECOND + "ALTER TABLE public.sellout_entries2 ENABLE ROW LEVEL SECURITY;"
            "GRANT INSERT, UPDATE, DELETE ON public.sellout_entries2 TO anon;"
            "CREATE VIEW public.sales AS SELECT * FROM public.sellout_entries2_2025",
            violation=f"GRANT {granted} TO anon",
            object=found,
            problem=problem,
            mended_by=f"REVOKE {revoked} ON {found} FROM anon",
            variant="founding-partitioned",
        )
        for title, granted, found, problem, revoked in (
            (
                "truncate",
                "TRUNCATE ON public.sellout_entries2_2025",
                "public.sellout_entries2_2025",
                "anon may TRUNCATE it",
                "TRUNCATE",
            ),
            (
                "no row security",
                "INSERT ON public.sellout_entries2_2025",
                "public.sellout_entries2_2025",
                "anon may write rows of every client: it has no row-level security",
                "INSERT, UPDATE, DELETE",
            ),
            (
                "view",
                "DELETE ON public.sales",
                "public.sales",
                "anon may write public.sellout_entries2_2025 through this view",
                "INSERT, UPDATE, DELETE",
            ),
        )
    ),
    Case(
        "nothing_goes_around_the_pins",
        "view with the rights of its owner",
        near_miss=SECOND + "CREATE VIEW public.names WITH (security_invoker = on) AS SELECT id FROM public.uploads;"
        "CREATE VIEW public.yes WITH (security_invoker = YES) AS SELECT id FROM public.uploads;"
        "CREATE VIEW public.more_names WITH (check_option = local) AS SELECT * FROM public.names;"
        "GRANT ALL ON public.names, public.yes, public.more_names TO anon",
        violation="ALTER VIEW public.names SET (security_invoker = off)",
        object=r"public.(more_)?names",
        problem="anon may write public.uploads through this view",
        mended_by=r"^REVOKE INSERT, UPDATE, DELETE ON public.(more_)?names FROM anon",
        pg=">= 15",
    ),
    Case(
        "users_have_a_membership",
        "later user",
        near_miss="UPDATE public.user_organizations SET is_active = FALSE",
        violation="INSERT INTO public.users (email) VALUES ('new@example.com')",
        object="public.user_organizations",
        problem="1 users have no membership row at all",
        mended_by="expected of users that the old application has added since",
        by_hand="DELETE FROM public.users WHERE email = 'new@example.com'",
    ),
    Case(
        "validate_client_data_integrity",
        "parent of another client",
        near_miss=SECOND + "UPDATE public.email_logs SET client_id = '11111111-1111-4111-8111-111111111111';"
        "UPDATE public.processing_logs SET client_id = '11111111-1111-4111-8111-111111111111', upload_id = NULL",
        violation="UPDATE public.transform_logs SET client_id = '11111111-1111-4111-8111-111111111111'"
        " WHERE id IN (SELECT id FROM public.transform_logs LIMIT 2)",
        object="public.transform_logs",
        problem="2 rows belong to another client than what they belong to",
        mended_by="see who wrote them, and correct client_id",
        by_hand=f"UPDATE public.transform_logs SET client_id = '{DEFAULT_ORGANIZATION}'",
    ),
    Case(
        "validate_client_data_integrity",
        "made for fewer tables",
        near_miss="ALTER FUNCTION public.validate_client_data_integrity() COST 200",
        violation=integrity_of_fewer_tables,
        object="public.email_logs",
        problem=r"is not looked at by validate_client_data_integrity\(\)",
        mended_by="^run the migration again",
    ),
    Case(
        "validate_client_data_integrity",
        "table gone",
        violation="ALTER TABLE public.email_logs RENAME TO mails",
        object="public.email_logs",
        problem=r"is not there any more, and validate_client_data_integrity\(\) fails",
        mended_by="give the table its name back",
        by_hand="ALTER TABLE public.mails RENAME TO email_logs",
    ),
    Case(
        "index_serves_its_query",
        "no other index",
        near_miss="DROP INDEX public.uploads_user_id_idx",
        violation="DROP INDEX public.idx_users_client_created_at",
        object="public.idx_users_client_created_at",
        problem="does not serve the query latest_users, not even with sequential scans off",
        mended_by="see EXPLAIN of that query",
        by_hand="CREATE INDEX idx_users_client_created_at ON public.users (client_id, created_at DESC)",
    ),
)

#: The checks that are written in Python.
PYTHON = {"validate_client_data_integrity", "index_serves_its_query"}
#: A notice about what every database has after Phase 1, and so the other way round; below.
APART = {"default_is_still_there"}


@pytest.mark.claim("verify-finds-violations")
def test_verify_checks_have_each_a_case() -> None:
    """Every check of ``--verify`` is tested in its failing form.

    A check that cannot fail certifies a database in which the promise is broken.
    """
    assert {case.check for case in CASES} | APART == names("verify") | PYTHON


@pytest.mark.claim("verify-finds-violations")
def test_verify_finds_nothing_after_a_migration(variant: str, templates: Templates) -> None:
    """After a migration there is no error and no warning, and ``--verify`` exits with 0.

    A false alarm after every migration teaches people to read past the true ones.
    """
    with workbench(templates, f"{variant}-migrated") as bench:
        result = run("--dsn", bench.database.owner_dsn, "--verify", "--json")
        assert result.status == DONE
        assert [each for each in result.findings if each["level"] != NOTICE] == []


@pytest.mark.parametrize(("case", "stage"), list(params(CASES, "verify", python=PYTHON)))
def test_verify_finds_the_violation_and_not_the_near_miss(case: Case, stage: str, templates: Templates) -> None:
    """The check finds nothing in the near miss, names the violation, and is silent once its advice is taken.

    A promise that is broken unseen costs most: a client's rows in another's hands, or every query slow.
    """
    with workbench(templates, f"{case.variant}-migrated") as bench:

        def findings(*options: str) -> tuple[int, list[Finding]]:
            result = run("--dsn", bench.database.dsn(case.user), f"--{stage}", "--json", *options)
            # A notice of the same check says that there is nothing to do.
            return result.status, [Finding(**each) for each in result.of(case.check) if each["level"] != NOTICE]

        def alone(*options: str) -> list[Finding]:
            if case.check in PYTHON:
                return findings(*options)[1]
            found = bench.findings(case.check, stage, case.user, options)
            return [each for each in found if each.level != NOTICE]

        bench.do(case.near_miss)
        assert alone(*case.near_miss_options) == []

        bench.do(case.violation)
        before = bench.state()
        status, found = findings(*case.options)
        assert bench.state() == before
        assert found, f"{case.check} finds nothing: {case.title}"
        for finding in found:
            assert re.fullmatch(case.object, finding.object), finding
            assert re.search(case.problem, finding.problem), finding
            assert finding.level == case.level
        if case.level == ERROR:
            assert status == VIOLATIONS

        options = bench.mend(case, found)
        assert alone(*options) == []


@pytest.mark.claim("verify-finds-violations")
def test_verify_says_that_the_default_is_still_there_as_long_as_it_is(templates: Templates) -> None:
    """A notice says that client_id has a default; once a later phase has dropped it, there is no notice.

    The default is what keeps the old application working, and what hides an insert that forgets the client.
    """
    with workbench(templates, "founding-migrated") as bench:
        [found] = bench.findings("default_is_still_there", "verify", OWNER)
        assert found.level == NOTICE
        for table in TABLES:
            bench.do(f"ALTER TABLE public.{table.name} ALTER client_id DROP DEFAULT")
        assert bench.findings("default_is_still_there", "verify", OWNER) == []


@pytest.mark.claim("verify-finds-violations", "rerun-does-nothing")
@pytest.mark.parametrize("there_before", [False, True], ids=["column was added", "column was there"])
def test_default_that_a_later_phase_drops_stays_away(templates: Templates, there_before: bool) -> None:
    """Once a later phase has dropped the default, --verify warns and exits with 0, and a second run leaves it alone.

    A re-run that puts it back hides every insert that forgets the client, in the default organization's rows.
    """
    with workbench(templates, "founding") as bench:
        owner = bench.database.owner_dsn
        if there_before:
            bench.do("ALTER TABLE public.uploads ADD client_id uuid")
        assert run("--dsn", owner, "--force").status == DONE
        bench.do("ALTER TABLE public.uploads ALTER client_id DROP DEFAULT")
        before = bench.state()
        again = run("--dsn", owner, "--force")
        assert (again.status, "Nothing to do" in again.out) == (DONE, True), again.out + again.err
        verified = run("--dsn", owner, "--verify", "--json")
        assert verified.status == DONE, verified.err
        assert [each["object"] for each in verified.of("default_is_gone")] == ["public.uploads.client_id"]
        assert bench.state() == before
        assert run("--dsn", owner, "--rollback", "--force").status == DONE


@pytest.mark.claim("verify-finds-violations", "exit-codes")
def test_verify_before_a_migration_says_what_is_missing(variant: str, templates: Templates) -> None:
    """On a database without Phase 1 every new object and column is reported as missing, and the exit code is 4.

    A verification that passes there, or breaks off, is no verification.
    """
    with workbench(templates, variant) as bench:
        before = bench.state()
        result = run("--dsn", bench.database.owner_dsn, "--verify", "--json")
        assert result.status == VIOLATIONS, "the exit code of --verify"
        assert len(result.of("new_objects_are_there")) == 6
        assert len(result.of("client_id_is_required_and_has_its_default")) == len(TABLES)
        assert bench.state() == before


#: A deployment that differs, and with what it is migrated.
_DIFFERENT = (
    "ALTER TABLE public.uploads RENAME created_at TO received_at; ALTER TABLE public.users ADD sent_at timestamptz"
)
_OPTIONS = (
    *("--column", "uploads.created_at=received_at", "--column", "users.created_at=sent_at"),
    *("--skip-table", "email_logs", "--skip-index", "idx_products_client_ean"),
    *("--grant-execute-to", "authenticator"),
)
_LEFT_OUT = "--skip-table email_logs --skip-index idx_products_client_ean"
_TIMES = "--column users.created_at=sent_at --column uploads.created_at=received_at"


def _told(*arguments: str) -> tuple[int, str]:
    """The exit code of a run, and which options it says it has taken from the log."""
    done = run(*arguments)
    said = re.findall(r"^Options taken from the log of the last migration: (.*)$", done.out + done.err, re.MULTILINE)
    assert len(said) <= 1
    return done.status, "".join(said)


@pytest.mark.claim("verify-finds-violations", "rerun-does-nothing")
@pytest.mark.parametrize("mode", [[], ["--online"]], ids=["transactional", "online"])
def test_verify_takes_what_the_migration_was_told_from_the_log(templates: Templates, mode: list[str]) -> None:
    """Without options --verify checks what was migrated, says which options it took from the log, and exits with 0.

    The advice to drop a valid index CONCURRENTLY, or to revoke what was granted on purpose, is followed by somebody.
    """
    with workbench(templates, "founding") as bench:
        owner = bench.database.owner_dsn
        bench.do(_DIFFERENT)
        assert _told("--dsn", owner, "--force", *mode, *_OPTIONS) == (DONE, "")
        assert bench.database.query(
            "SELECT operation FROM public.migration_log WHERE status = 'skipped' ORDER BY id"
        ) == [("email_logs",), ("idx_products_client_ean",)]
        everything = f"{_TIMES} {_LEFT_OUT} --grant-execute-to authenticator"
        assert _told("--dsn", owner, "--verify") == (DONE, everything)
        assert run("--dsn", owner, "--verify", "--json").json["options_from_the_log"] == _each(everything)
        assert _told("--dsn", owner, "--verify", *_OPTIONS) == (DONE, "")
        # What is given wins.
        given = ("--grant-execute-to", "service_role", "--skip-table", "transform_logs")
        result = run("--dsn", owner, "--verify", "--json", *given)
        assert {each["object"] for each in result.of("functions_are_closed")} == {
            "public.get_user_organization_id(uuid)",
            "public.validate_client_access(uuid,uuid)",
        }
        assert "public.email_logs.client_id" in {
            each["object"] for each in result.of("client_id_is_required_and_has_its_default")
        }
        assert result.json["options_from_the_log"] == _each(f"{_TIMES} --skip-index idx_products_client_ean")
        # So the advice names those who were named before as well.
        bench.do("GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO anon")
        [found] = run("--dsn", owner, "--verify", "--json").of("functions_are_closed")
        advice = re.findall(r"(--grant-execute-to) (\w+)", found["action"])
        assert run("--dsn", owner, "--verify", *(each for option in advice for each in option)).status == DONE


@pytest.mark.claim("verify-finds-violations", "rerun-does-nothing")
def test_second_run_remembers_columns_and_roles_and_does_what_was_left_out(templates: Templates) -> None:
    """A run without options mends what it finds as it was, and migrates what was left out; then nothing is left out.

    Built anew, an index of another time column serves nobody, and the application is denied its functions.
    """
    with workbench(templates, "founding") as bench:
        owner = bench.database.owner_dsn
        bench.do(_DIFFERENT)
        assert run("--dsn", owner, "--force", *_OPTIONS).status == DONE
        before = bench.database.query("SELECT pg_get_indexdef('public.idx_users_client_created_at'::regclass)")
        assert "sent_at" in str(before)
        bench.do(
            "DROP INDEX public.idx_users_client_created_at; DROP FUNCTION public.validate_client_access(uuid, uuid)"
        )
        remembered = f"{_TIMES} --grant-execute-to authenticator"
        assert _told("--dsn", owner, "--status") == (DONE, remembered)
        skipping = ("--skip-table", "uploads", "--skip-index", "idx_products_client_ean")
        times = "--column users.created_at=sent_at"
        assert _told("--dsn", owner, "--force", *skipping) == (DONE, f"{times} --grant-execute-to authenticator")
        assert before == bench.database.query("SELECT pg_get_indexdef('public.idx_users_client_created_at'::regclass)")
        assert bench.database.query(
            "SELECT has_function_privilege('authenticator', 'public.validate_client_access(uuid, uuid)', 'EXECUTE')"
        ) == [(True,)]
        # uploads was done before: only now it was left out.
        assert _told("--dsn", owner, "--verify") == (
            DONE,
            f"{_TIMES} --skip-index idx_products_client_ean --grant-execute-to authenticator",
        )
        assert _told("--dsn", owner, "--force") == (DONE, remembered)
        assert _told("--dsn", owner, "--verify") == (DONE, remembered)
        assert "Nothing to do" in run("--dsn", owner, "--force").out
        # Taken back, nothing is remembered.
        assert _told("--dsn", owner, "--rollback", "--force") == (DONE, "")
        assert _told("--dsn", owner, "--rollback", "--force") == (DONE, "")
        assert _told("--dsn", owner, "--status")[1] == ""


def _each(options: str) -> list[str]:
    """Options with their arguments."""
    return [f"--{each.strip()}" for each in options.split("--") if each]
