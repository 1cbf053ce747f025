"""What is asked before anything is touched: every check finds its violation, and nothing but that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from phase_1.findings import ERROR, Finding
from phase_1.found import BATCH
from phase_1.inventory import DEFAULT_ORGANIZATION
from phase_1.problems import DONE, REFUSED, STOPPED
from tests.application import former
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.plugins.server import Server
from tests.support.cases import Case, names, params, workbench
from tests.support.generated import TOO_LONG
from tests.support.looking import wait_for
from tests.support.pooler import Pooler
from tests.support.runner import run

#: Organizations as Phase 1 would create them, without the default one.
PARTITIONED = (
    f"SET ROLE {OWNER}; DROP TABLE public.email_logs; CREATE TABLE public.email_logs (id uuid, created_at timestamptz)"
    " PARTITION BY RANGE (created_at)"
)

#: The state of an upload as an enum, with these labels, and what is in the way of it.
STATUS = """
DROP FUNCTION public.finish_upload;
ALTER TABLE public.uploads DROP CONSTRAINT uploads_status_check, ALTER status DROP DEFAULT;
CREATE TYPE public.{name} AS ENUM ({labels});
ALTER TABLE public.uploads ALTER status TYPE public.{name} USING 'done'::public.{name};
"""

#: A type as the extension citext has it, which not every server has.
CITEXT = """
DROP FUNCTION public.finish_upload;
ALTER TABLE public.uploads DROP CONSTRAINT uploads_status_check, ALTER status DROP DEFAULT;
CREATE TYPE public.citext;
CREATE FUNCTION public.citextin(cstring) RETURNS public.citext LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION public.citextout(public.citext) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE public.citext (INPUT = public.citextin, OUTPUT = public.citextout, LIKE = text, CATEGORY = 'S');
CREATE CAST (text AS public.citext) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (public.citext AS text) WITHOUT FUNCTION AS IMPLICIT;
"""

#: A function for event triggers, which writes down what was done.
DDL_AUDIT = """
CREATE TABLE IF NOT EXISTS public.ddl_audit (tag text);
GRANT INSERT ON public.ddl_audit TO PUBLIC;
CREATE FUNCTION public.{name}() RETURNS event_trigger LANGUAGE plpgsql {setting}
    AS $$ BEGIN {insert} VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER {name} ON {event} EXECUTE FUNCTION public.{name}();
"""

#: A function for triggers.
HISTORY = """
CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
CREATE TRIGGER {name} BEFORE UPDATE ON public.{table} FOR EACH ROW EXECUTE FUNCTION public.{name}();
"""

#: A trigger whose function looks at a column.
FILLING = """
CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN NEW.{column} := coalesce(NEW.{column}); RETURN NEW; END $$;
CREATE TRIGGER {name} {when} EXECUTE FUNCTION public.{name}();
"""

#: A server that has this one extension to offer.
AVAILABLE = """
SET allow_system_table_mods = on;
CREATE OR REPLACE VIEW pg_catalog.pg_available_extensions AS
SELECT '{}'::name AS name, NULL::text AS default_version, NULL::text COLLATE "C" AS installed_version,
    NULL::text AS comment;
"""

#: Organizations that the application has had before, with one of them.
ORGANIZATIONS = f"""
SET ROLE app_owner;
{former.ORGANIZATIONS}
INSERT INTO public.organizations (id, name, slug) VALUES ('11111111-1111-4111-8111-111111111111', 'Acme', 'acme');
"""

#: The same with a default organization that was there before, which the migration adopts.
OURS = "22222222-2222-4222-8222-222222222222"
ADOPTED = (
    ORGANIZATIONS + f"INSERT INTO public.organizations (id, name, slug) VALUES ('{OURS}', 'Ours', 'default-org');"
    "REVOKE ALL ON public.organizations FROM anon, authenticated;"
)

#: A log as Phase 1 would create it.
LOG = f"SET ROLE app_owner; {former.LOG}"


def entry(operation: str, phase: str = "phase_1") -> str:
    """An entry of the log: this was done."""
    columns = "INSERT INTO public.migration_log (phase, operation, status)"
    return f"{columns} VALUES ('{phase}', '{operation}', 'completed');"


def logged(operation: str) -> str:
    """The log, in which this was done."""
    return LOG + entry(operation)


#: A client_id that was there before, with rows of Acme, rows without a client, and no foreign key.
OWN_CLIENT_ID = """
ALTER TABLE public.email_logs ADD COLUMN client_id uuid;
UPDATE public.email_logs SET client_id = '11111111-1111-4111-8111-111111111111'
WHERE id IN (SELECT id FROM public.email_logs ORDER BY id LIMIT 1);
"""

#: The same, complete and without a default.
REQUIRED_CLIENT_ID = """
ALTER TABLE public.email_logs ADD COLUMN client_id uuid NOT NULL DEFAULT '11111111-1111-4111-8111-111111111111';
ALTER TABLE public.email_logs ALTER COLUMN client_id DROP DEFAULT;
"""

#: How the application keeps its clients apart on the products.
OF_CLIENT = (
    "CREATE POLICY of_client ON public.products {} TO authenticated"
    " USING (client_id = nullif(current_setting('app.client', TRUE), '')::uuid);"
)
#: The deployed application with a client_id on products, and a policy by it.
KEPT_APART = (
    "SET search_path = public, extensions;"
    + ORGANIZATIONS
    + """
    REVOKE ALL ON public.organizations FROM anon, authenticated;
    ALTER TABLE public.products ADD client_id uuid;
    UPDATE public.products SET client_id = '11111111-1111-4111-8111-111111111111' WHERE ean LIKE '4%';
    """
    + OF_CLIENT.format("AS RESTRICTIVE")
)


def add_columns(table: str, up_to: int) -> str:
    """SQL that uses up the attribute numbers of a table."""
    return f"""
        DO $$
        DECLARE used int;
        BEGIN
            SELECT relnatts INTO used FROM pg_class WHERE oid = 'public.{table}'::regclass;
            EXECUTE (SELECT 'ALTER TABLE public.{table} ' || string_agg(format('ADD COLUMN c%s bool', n), ', ')
                FROM generate_series(used + 1, {up_to}) AS n);
            EXECUTE (SELECT 'ALTER TABLE public.{table} ' || string_agg(format('DROP COLUMN c%s', n), ', ')
                FROM generate_series(used + 1, {up_to}) AS n);
        END
        $$
    """


def invalid_index(name: str, on: str) -> Callable[[Database], None]:
    """What an interrupted CREATE INDEX CONCURRENTLY leaves behind: it waits for a writer, and gives up."""

    def leave(database: Database) -> None:
        with closing(database.connect(autocommit=False)) as writer, closing(database.connect()) as builder:
            writer.execute(b"LOCK TABLE public.uploads IN ROW EXCLUSIVE MODE")
            builder.execute("SET lock_timeout = '10ms'")
            with pytest.raises(errors.LockNotAvailable):
                builder.execute(f"CREATE INDEX CONCURRENTLY {name} ON public.uploads {on}".encode())

    return leave


def prepare(table: str, gid: str) -> Callable[[Database], None]:
    """A prepared transaction with a lock on a table."""

    def prepared(database: Database) -> None:
        with closing(database.connect()) as connection:
            connection.execute(
                f"BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE; PREPARE TRANSACTION '{gid}_{database.name}'".encode()
            )

    return prepared


def migrated_after(*first: str, since: str = "") -> Callable[[Database], None]:
    """A database that is migrated once more, from one in which all this was there before, and changed since."""

    def again(database: Database) -> None:
        taken_back(database)
        for change in first:
            database.execute(change)
        assert run("--dsn", database.owner_dsn, "--force").status == DONE
        if since:
            database.execute(since)

    return again


def taken_back(database: Database) -> None:
    """A database in which nothing of Phase 1 is left."""
    assert run("--dsn", database.owner_dsn, "--rollback", "--purge-log", "--force").status == DONE


def half_filled(database: Database) -> None:
    """A database where an online run was stopped: uploads are filled, email_logs begun with, products left out."""
    database.execute(
        ADOPTED
        + OWN_CLIENT_ID
        + OWN_CLIENT_ID.replace("email_logs", "products")
        + "ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        f"ALTER TABLE public.uploads ALTER client_id SET DEFAULT '{OURS}'; RESET ROLE;"
        + HISTORY.format(name="stop", table="email_logs", body="RAISE SQLSTATE '57014'")
    )
    stopped_run = run("--dsn", database.owner_dsn, "--force", "--online", "--skip-table", "products")
    assert stopped_run.status == STOPPED, stopped_run.err
    database.execute(
        "UPDATE public.uploads SET client_id = NULL WHERE id IN (SELECT id FROM public.uploads LIMIT 1);"
        "INSERT INTO public.email_logs (recipient) VALUES ('new@example.com')"
    )


def migrated_again(database: Database) -> None:
    """A second run, which does what is missing."""
    assert run("--dsn", database.owner_dsn, "--force").status == DONE


def stopped(statement: str, *arguments: str) -> Callable[[Database], None]:
    """A database in which an online run was stopped by a transaction with this statement."""

    def stop(database: Database) -> None:
        with database.connect(autocommit=False) as application:
            application.execute(statement.encode())
            limits = ("--give-up-after", "100ms", "--concurrently-timeout", "100ms")
            assert run("--dsn", database.owner_dsn, "--force", "--online", *limits, *arguments).status == STOPPED

    return stop


#: Organizations that belong to another one.
PARENTS = "ALTER TABLE public.organizations ADD COLUMN parent_id uuid REFERENCES public.organizations (id)"


CASES: tuple[Case, ...] = (
    Case(
        "server_takes_writes",
        "read-only by default",
        near_miss="ALTER ROLE app_owner IN DATABASE {database} SET default_transaction_isolation = 'serializable'",
        violation="ALTER ROLE app_owner IN DATABASE {database} SET default_transaction_read_only = on",
        object="server",
        problem="transactions are read only by default here",
        mended_by="without default_transaction_read_only",
        by_hand="ALTER ROLE app_owner IN DATABASE {database} RESET default_transaction_read_only",
    ),
    Case(
        "lock_timeout_is_below_that_of_deadlocks",
        "as long",
        near_miss="ALTER DATABASE {database} SET deadlock_timeout = '800ms'",
        near_miss_options=("--lock-timeout", "799ms"),
        violation="",
        options=("--lock-timeout", "800ms"),
        object="--lock-timeout",
        problem="800ms is not below deadlock_timeout, 800 ms: .* the application's statement may be the one",
        mended_by="leave it out, or give less",
        options_by_hand=("--lock-timeout", "100ms"),
    ),
    Case(
        "tenant_table_is_there",
        "missing",
        near_miss="CREATE TABLE public.history (LIKE public.email_logs);"
        "ALTER TABLE public.email_logs INHERIT public.history",
        violation="ALTER TABLE public.email_logs RENAME TO mails",
        object="public.email_logs",
        problem="there is no such table",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "tenant_table_is_there",
        "view",
        violation="ALTER TABLE public.email_logs RENAME TO mails; CREATE VIEW public.email_logs AS TABLE public.mails",
        object="public.email_logs",
        problem="is not a table",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "what_was_begun_is_not_left_out",
        "table",
        near_miss=stopped("LOCK TABLE public.email_logs IN ACCESS SHARE MODE"),
        near_miss_options=("--skip-table", "email_logs"),
        violation="",
        options=("--skip-table", "uploads"),
        object="public.uploads",
        problem="a run that was stopped has begun with it",
        mended_by="run the migration again and do not leave it out",
        options_by_hand=("--skip-table", "email_logs"),
    ),
    Case(
        "what_was_begun_is_not_left_out",
        "index",
        near_miss=stopped("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"),
        near_miss_options=("--skip-index", "idx_uploads_client_user_id"),
        violation="",
        options=("--skip-index", "idx_users_client_created_at"),
        object="public.idx_users_client_created_at",
        problem="a run that was stopped has begun with it",
        mended_by="run the migration again and do not leave it out",
        options_by_hand=("--online",),
    ),
    Case(
        "partitions_can_be_migrated",
        "partitioned partition",
        near_miss=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT",
        violation=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT"
        " PARTITION BY RANGE (created_at)",
        object="public.mails_default",
        problem="is a partition of public.email_logs that is not an ordinary table",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "partitions_can_be_migrated",
        "partition in another schema",
        near_miss=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT",
        violation=f"{PARTITIONED}; RESET ROLE; CREATE SCHEMA archive"
        " CREATE TABLE mails PARTITION OF public.email_logs DEFAULT",
        object="archive.mails",
        problem="is a partition of public.email_logs in another schema",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "partitions_can_be_migrated",
        "partitioned with a client_id of its own",
        near_miss="ALTER TABLE public.uploads ADD client_id uuid; ALTER TABLE public.products ADD client_id uuid;"
        + logged("add_client_id(uploads)")
        + PARTITIONED,
        violation=f"{PARTITIONED}; ALTER TABLE public.email_logs ADD client_id uuid",
        object="public.email_logs.client_id",
        problem="is the column of a partitioned table, and was there before Phase 1",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "tenant_table_is_there",
        "inherited",
        violation="CREATE TABLE public.old_mails () INHERITS (public.email_logs)",
        object="public.email_logs",
        problem="has tables that inherit from it",
        mended_by="ALTER TABLE public.old_mails NO INHERIT public.email_logs",
    ),
    Case(
        "tenant_table_is_there",
        "partition",
        violation="CREATE TABLE public.papers (); CREATE TABLE public.letters () INHERITS (public.papers);"
        "SET ROLE app_owner; ALTER TABLE public.email_logs RENAME TO mails;"
        "CREATE TABLE public.all_mails (id uuid, created_at timestamptz) PARTITION BY RANGE (created_at);"
        "CREATE TABLE public.email_logs PARTITION OF public.all_mails DEFAULT",
        object="public.email_logs",
        problem="is a partition itself: its columns are those of public.all_mails",
        mended_by="ALTER TABLE public.all_mails DETACH PARTITION public.email_logs",
    ),
    Case(
        "tenant_table_is_there",
        "typed",
        violation="SET ROLE app_owner; CREATE TYPE public.mail AS (id uuid, created_at timestamptz);"
        "DROP TABLE public.email_logs; CREATE TABLE public.email_logs OF public.mail",
        object="public.email_logs",
        problem="is a typed table: its columns are those of type public.mail",
        mended_by="ALTER TABLE public.email_logs NOT OF",
    ),
    Case(
        "tenant_table_is_there",
        "users",
        violation="ALTER TABLE public.users RENAME TO people",
        object="public.users",
        problem="there is no such table",
        mended_by="it cannot be left out",
        by_hand="ALTER TABLE public.people RENAME TO users",
    ),
    Case(
        "role_owns_the_table",
        "of another role",
        violation="ALTER TABLE public.email_logs OWNER TO {superuser}",
        object="public.email_logs",
        problem="and app_owner is not a member of that role",
        mended_by=r"connect as \S+",
        by_hand="ALTER TABLE public.email_logs OWNER TO app_owner",
    ),
    Case(
        "role_owns_the_table",
        "of a role whose rights are not inherited",
        near_miss="GRANT {role} TO app_owner; ALTER TABLE public.users OWNER TO {role}",
        violation="GRANT {role} TO app_owner WITH INHERIT FALSE",
        object="public.users",
        problem=r"and app_owner is a member of that role without its rights \(NOINHERIT\)",
        mended_by=r"connect as \S+, or begin the session as that role: add options=-crole=\S+ to the connection",
        by_hand="GRANT {role} TO app_owner WITH INHERIT TRUE",
        pg=">=16",
    ),
    Case(
        "role_owns_the_table",
        "partition of another role",
        near_miss=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT",
        violation=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT;"
        " RESET ROLE; ALTER TABLE public.mails_default OWNER TO {superuser}",
        object="public.mails_default",
        problem="and app_owner is not a member of that role",
        mended_by=r"connect as \S+",
        by_hand="ALTER TABLE public.mails_default OWNER TO app_owner",
        stages=("preflight",),
    ),
    Case(
        "role_owns_the_table",
        "organizations of another role",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations OWNER TO {superuser};"
        "GRANT ALL ON public.organizations TO app_owner;"
        "ALTER TABLE public.organizations DISABLE ROW LEVEL SECURITY",
        object="public.organizations",
        problem="and app_owner is not a member of that role",
        mended_by=r"connect as \S+",
        stages=("preflight",),
        by_hand="ALTER TABLE public.organizations OWNER TO app_owner;"
        "ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY",
    ),
    Case(
        "role_owns_the_functions",
        "finished by another role",
        near_miss="ALTER FUNCTION public.get_user_organization_id(uuid) OWNER TO {superuser};"
        "UPDATE public.migration_log SET phase = 'none' WHERE operation = 'create_get_user_organization_id'",
        violation="UPDATE public.migration_log SET phase = 'phase_1' WHERE phase = 'none'",
        object=r"public.get_user_organization_id\(uuid\)",
        problem="only with the rights of that role can it be dropped",
        mended_by=r"ALTER FUNCTION public.get_user_organization_id\(uuid\) OWNER TO app_owner",
    ),
    Case(
        "role_owns_the_functions",
        "extension of another role",
        # From PostgreSQL 13 on it stands in for one that Phase 1 has created before an upgrade.
        near_miss="INSERT INTO pg_extension SELECT 1, 'pgcrypto', 10, 11, TRUE, '1.3'"
        " WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pgcrypto');"
        "UPDATE pg_extension SET extowner = 'app_owner'::regrole WHERE extname = 'pgcrypto';"
        + entry("create_pgcrypto"),
        violation="UPDATE pg_extension SET extowner = 10 WHERE extname = 'pgcrypto'",
        object="extension pgcrypto",
        problem="only with the rights of that role can it be dropped",
        mended_by=r"connect as \S+",
        by_hand="DELETE FROM public.migration_log WHERE operation = 'create_pgcrypto'",
    ),
    Case(
        "role_may_create",
        "no privilege",
        near_miss="REVOKE ALL ON SCHEMA public FROM PUBLIC",
        violation="REVOKE CREATE ON SCHEMA public FROM app_owner",
        object="schema public",
        problem="app_owner may not create tables and functions in it",
        mended_by="GRANT USAGE, CREATE ON SCHEMA public TO app_owner",
    ),
    Case(
        "time_column_is_known",
        "other name",
        near_miss="ALTER TABLE public.uploads RENAME created_at TO logged_at;"
        "ALTER ROLE app_owner IN DATABASE {database} SET enable_indexscan = off",
        violation="ALTER TABLE public.uploads RENAME logged_at TO received_at",
        object="public.uploads",
        problem="has no column created_at or uploaded_at or logged_at or sent_at, .* it has received_at, finished_at",
        mended_by="--column uploads.created_at=ACTUAL",
    ),
    Case(
        "time_column_is_known",
        "left out",
        near_miss="ALTER TABLE public.products DROP COLUMN created_at",
        violation="ALTER TABLE public.processing_logs DROP COLUMN created_at",
        object="public.processing_logs",
        problem="it has no time column at all",
        mended_by="--skip-index idx_processing_logs_client_created_at",
    ),
    Case(
        "time_column_is_known",
        "wrong option",
        near_miss_options=("--column", "uploads.created_at=finished_at"),
        violation="ALTER TABLE public.uploads RENAME created_at TO received_at",
        options=("--column", "uploads.created_at=recieved_at"),
        object="public.uploads",
        problem="has no column recieved_at",
        mended_by="--column uploads.created_at=ACTUAL",
    ),
    Case(
        "index_column_is_there",
        "other name",
        near_miss="ALTER TABLE public.sellout_entries2 RENAME country TO land;"
        "ALTER TABLE public.uploads RENAME created_at TO received_at",
        violation="ALTER TABLE public.uploads RENAME received_at TO created_at;"
        "ALTER TABLE public.sellout_entries2 RENAME reseller TO dealer",
        object="public.sellout_entries2",
        problem="has no column reseller, which idx_sellout_entries2_client_reseller is to be built on",
        mended_by="--skip-index idx_sellout_entries2_client_reseller",
    ),
    Case(
        "index_column_is_there",
        "the parent",
        near_miss='ALTER TABLE public.uploads RENAME created_at TO "When it Came"',
        near_miss_options=("--column", "uploads.created_at=When it Came"),
        violation='ALTER TABLE public.uploads RENAME "When it Came" TO created_at;'
        "ALTER TABLE public.processing_logs RENAME upload_id TO file_id",
        object="public.processing_logs",
        problem="has no column upload_id, which idx_processing_logs_client_upload_id is to be built on",
        mended_by="--skip-index idx_processing_logs_client_upload_id",
    ),
    Case(
        "index_literals_fit",
        "enum without the labels",
        near_miss=STATUS.format(name="state", labels="'pending', 'processing', 'done'")
        + "CREATE DOMAIN public.labels AS public.state; ALTER TABLE public.uploads ALTER status TYPE public.labels",
        violation="CREATE TYPE public.shorter AS ENUM ('processing', 'done');"
        "ALTER TABLE public.uploads ALTER status TYPE public.shorter USING 'done'::public.shorter",
        object="public.uploads.status",
        problem="is of type public.shorter and never 'pending', the rows that idx_uploads_client_status is of",
        mended_by="--skip-index",
        by_hand="ALTER TYPE public.shorter ADD VALUE 'pending'",
    ),
    Case(
        "index_literals_fit",
        "number",
        near_miss="ALTER TABLE public.uploads ALTER status TYPE varchar(20); CREATE TABLE public.states (status int)",
        violation="DROP FUNCTION public.finish_upload; ALTER TABLE public.uploads DROP CONSTRAINT uploads_status_check,"
        " ALTER status DROP DEFAULT, ALTER status TYPE integer USING 0",
        object="public.uploads.status",
        problem="is of type integer and never 'pending' or 'processing'",
        mended_by="--skip-index idx_uploads_client_status",
    ),
    Case(
        "index_literals_fit",
        "text that is compared in another way",
        near_miss=CITEXT + "CREATE TABLE public.states (status public.citext); CREATE DOMAIN public.short AS char(20);"
        "CREATE DOMAIN public.status AS public.short; ALTER TABLE public.uploads ALTER status TYPE public.status",
        violation="CREATE DOMAIN public.of_upload AS public.citext;"
        "ALTER TABLE public.uploads ALTER status TYPE public.of_upload USING status::text::public.citext",
        object="public.uploads.status",
        problem="is of type public.of_upload, whose = is not that of text: idx_uploads_client_status would serve",
        mended_by="--skip-index idx_uploads_client_status",
    ),
    *(
        Case(
            "index_columns_can_be_indexed",
            title,
            near_miss="CREATE OPERATOR CLASS public.leftmost FOR TYPE point USING btree AS OPERATOR 1 <<;"
            "DROP VIEW public.sales_by_month; CREATE DOMAIN public.place AS point;"
            "CREATE DOMAIN public.list AS int[]; CREATE DOMAIN public.lists AS public.list;"
            "ALTER TABLE public.sellout_entries2 DROP reseller, ADD reseller public.lists;"
            "ALTER TABLE public.products ALTER ean TYPE varchar(20)",
            violation=f"ALTER TABLE public.sellout_entries2 DROP reseller, ADD reseller {kind}",
            object="public.sellout_entries2.reseller",
            problem=f"is of type {kind}, which has no order, and idx_sellout_entries2_client_reseller is to be built",
            mended_by="--skip-index idx_sellout_entries2_client_reseller",
        )
        for title, kind in (("json", "json"), ("a domain", "public.place"))
    ),
    Case(
        "index_columns_can_be_indexed",
        "time",
        near_miss="ALTER TABLE public.email_logs DROP sent_at;"
        "ALTER TABLE public.email_logs RENAME created_at TO logged_at",
        violation="ALTER TABLE public.email_logs DROP logged_at, ADD created_at json",
        object="public.email_logs.created_at",
        problem="is of type json, which has no order, and idx_email_logs_client_created_at is to be built on it",
        mended_by="--skip-index idx_email_logs_client_created_at",
    ),
    Case(
        "index_columns_can_be_indexed",
        "virtual",
        near_miss="DROP VIEW public.sales_by_month; ALTER TABLE public.sellout_entries2 DROP year,"
        " ADD year int GENERATED ALWAYS AS (quantity) STORED, ADD half int GENERATED ALWAYS AS (quantity / 2) VIRTUAL",
        violation="ALTER TABLE public.sellout_entries2 DROP year, ADD year int GENERATED ALWAYS AS (quantity) VIRTUAL",
        object="public.sellout_entries2.year",
        problem="is a generated column that is not stored, and idx_sellout_entries2_client_\\w+ is to be built on it",
        mended_by="--skip-index idx_sellout_entries2_client_\\w+",
        pg=">= 18",
    ),
    Case(
        "users_have_a_uuid_key",
        "a NULL",
        near_miss="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD UNIQUE (id), ALTER id SET NOT NULL",
        violation="ALTER TABLE public.users ALTER id DROP NOT NULL;"
        "INSERT INTO public.users (id, email) VALUES (NULL, 'nobody@example.com')",
        object="public.users",
        problem="has no unique column id of type uuid that is NOT NULL",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="DELETE FROM public.users WHERE id IS NULL; ALTER TABLE public.users ADD PRIMARY KEY (id)",
    ),
    Case(
        "users_have_a_uuid_key",
        "NOT NULL that was never validated",
        near_miss="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD UNIQUE (id), ALTER id SET NOT NULL,"
        " ADD COLUMN note text, ADD CONSTRAINT users_note NOT NULL note NOT VALID,"
        " ADD CONSTRAINT users_known CHECK (id IS NOT NULL) NOT VALID; CREATE TABLE public.attic (id uuid);"
        "ALTER TABLE public.attic ADD CONSTRAINT attic_id NOT NULL id NOT VALID",
        violation="ALTER TABLE public.users ALTER id DROP NOT NULL, ADD CONSTRAINT users_id NOT NULL id NOT VALID",
        object="public.users",
        problem="has no unique column id of type uuid that is NOT NULL",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="ALTER TABLE public.users VALIDATE CONSTRAINT users_id",
        pg=">= 18",
    ),
    Case(
        "what_is_referred_to_is_logged",
        "users",
        near_miss="ALTER TABLE public.email_logs SET UNLOGGED;"
        "ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey",
        violation="ALTER TABLE public.users SET UNLOGGED",
        object="public.users",
        problem="is UNLOGGED, and no table that is logged may refer to it",
        mended_by="ALTER TABLE public.users SET LOGGED",
    ),
    Case(
        "what_is_referred_to_is_logged",
        "organizations",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations SET UNLOGGED",
        object="public.organizations",
        problem="is UNLOGGED, and no table that is logged may refer to it",
        mended_by="ALTER TABLE public.organizations SET LOGGED",
    ),
    Case(
        "users_have_a_uuid_key",
        "no key",
        near_miss="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (id) INCLUDE (email)",
        violation="ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD key uuid UNIQUE;"
        "UPDATE public.users SET key = id; ALTER TABLE public.users ALTER key SET NOT NULL;"
        "CREATE UNIQUE INDEX ON public.users (id, email); CREATE INDEX ON public.users (id);"
        "CREATE UNIQUE INDEX half_built ON public.users (id);"
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'public.half_built'::regclass",
        object="public.users",
        problem="has no unique column id of type uuid",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="DROP INDEX public.half_built; ALTER TABLE public.users ALTER key DROP NOT NULL, ADD PRIMARY KEY (id)",
    ),
    Case(
        "users_have_a_uuid_key",
        "deferrable",
        near_miss="ALTER TABLE public.users RENAME TO people",
        violation="ALTER TABLE public.people RENAME TO users;"
        "ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey, ADD UNIQUE (id) DEFERRABLE",
        object="public.users",
        problem="has no unique column id of type uuid",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="ALTER TABLE public.users ADD PRIMARY KEY (id)",
    ),
    Case(
        "users_have_a_uuid_key",
        "text",
        violation="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users ALTER id DROP DEFAULT, ALTER id TYPE text",
        object="public.users",
        problem="has no unique column id of type uuid",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="ALTER TABLE public.users ALTER id TYPE uuid USING id::uuid",
    ),
    Case(
        "users_have_a_uuid_key",
        "of some rows",
        violation="ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.users DROP CONSTRAINT users_pkey;"
        "CREATE UNIQUE INDEX ON public.users (id) WHERE email IS NOT NULL",
        object="public.users",
        problem="has no unique column id of type uuid",
        mended_by="users.id uuid PRIMARY KEY",
        by_hand="ALTER TABLE public.users ADD PRIMARY KEY (id)",
    ),
    Case(
        "parents_have_an_id",
        "other name",
        near_miss="ALTER TABLE public.products RENAME id TO product_id",
        violation="ALTER TABLE public.uploads RENAME id TO upload_id",
        object="public.uploads",
        problem="has no column id for (sellout_entries2|processing_logs|transform_logs).upload_id to be compared with",
        mended_by="--skip-table \\w+",
    ),
    Case(
        "parents_have_an_id",
        "other type",
        near_miss="CREATE DOMAIN public.upload AS uuid;"
        "ALTER TABLE public.transform_logs DROP CONSTRAINT transform_logs_upload_id_fkey,"
        " ALTER upload_id TYPE public.upload",
        violation="ALTER TABLE public.transform_logs ALTER upload_id TYPE macaddr USING NULL",
        object="public.transform_logs.upload_id",
        problem="is of type macaddr and cannot be compared with public.uploads.id of type uuid",
        mended_by="--skip-table transform_logs",
    ),
    Case(
        "parents_have_an_id",
        "type of another kind",
        near_miss="DROP VIEW public.sales_by_month;"
        + "".join(
            f"ALTER TABLE public.{table} DROP CONSTRAINT {table}_upload_id_fkey, ALTER upload_id TYPE varchar;"
            for table in ("sellout_entries2", "processing_logs", "transform_logs")
        )
        + "ALTER TABLE public.uploads ALTER id DROP DEFAULT, ALTER id TYPE text",
        violation="ALTER TABLE public.transform_logs ALTER upload_id TYPE integer USING 0",
        object="public.transform_logs.upload_id",
        problem="is of type integer and cannot be compared with public.uploads.id of type text",
        mended_by="--skip-table transform_logs",
    ),
    Case(
        "client_id_is_a_plain_uuid",
        "text",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid",
        violation="ALTER TABLE public.uploads ALTER client_id TYPE text; UPDATE public.uploads SET client_id = 'acme'",
        object="public.uploads.client_id",
        problem="is there already, as text instead of uuid",
        mended_by="ALTER TABLE public.uploads RENAME COLUMN client_id TO former_client_id",
    ),
    Case(
        "client_id_is_a_plain_uuid",
        "number",
        violation="ALTER TABLE public.uploads ADD COLUMN client_id bigint NOT NULL DEFAULT 7",
        object="public.uploads.client_id",
        problem="is there already, as bigint instead of uuid",
        mended_by="ALTER TABLE public.uploads RENAME COLUMN client_id TO former_client_id",
    ),
    Case(
        "client_id_is_a_plain_uuid",
        "generated",
        violation="ALTER TABLE public.uploads ADD COLUMN client_id uuid GENERATED ALWAYS AS (user_id) STORED",
        object="public.uploads.client_id",
        problem="is a generated column",
        mended_by="ALTER TABLE public.uploads RENAME COLUMN client_id TO former_client_id",
    ),
    Case(
        "client_id_is_a_plain_uuid",
        "NOT NULL that was never validated",
        # The same on a column of another table, in the same place, and on another column; another kind on this one.
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid, ADD COLUMN note text DEFAULT '',"
        " ADD CONSTRAINT uploads_note NOT NULL note NOT VALID,"
        " ADD CONSTRAINT uploads_known CHECK (client_id IS NOT NULL) NOT VALID;"
        " CREATE TABLE public.attic AS SELECT * FROM public.uploads;"
        " ALTER TABLE public.attic ADD CONSTRAINT attic_client NOT NULL client_id NOT VALID",
        violation="ALTER TABLE public.uploads ADD CONSTRAINT uploads_client NOT NULL client_id NOT VALID",
        object="public.uploads.client_id",
        problem="is NOT NULL by uploads_client, which was never validated: there may be NULLs",
        mended_by="ALTER TABLE public.uploads ALTER COLUMN client_id DROP NOT NULL",
        pg=">= 18",
    ),
    *(
        Case(
            "client_id_has_no_other_default",
            title,
            near_miss="ALTER TABLE public.uploads ADD client_id uuid DEFAULT NULL, ADD o uuid DEFAULT md5('')::uuid;"
            "ALTER TABLE public.email_logs ADD client_id uuid;"
            f"ALTER TABLE public.email_logs ALTER client_id SET DEFAULT '{DEFAULT_ORGANIZATION}'",
            violation=f"ALTER TABLE public.uploads ALTER client_id SET DEFAULT {default}",
            object="public.uploads.client_id",
            problem="and goes to the default organization after the migration$",
            mended_by="ALTER TABLE public.uploads ALTER COLUMN client_id DROP DEFAULT",
        )
        for title, default in (
            ("of the session", "current_setting('app.client')::uuid"),
            ("another organization", "'11111111-1111-4111-8111-111111111111'"),
        )
    ),
    Case(
        "client_id_has_no_other_default",
        "left out",
        near_miss=logged("add_client_id(uploads)") + "ALTER TABLE public.uploads ADD client_id uuid;"
        "ALTER TABLE public.uploads ALTER client_id SET DEFAULT current_setting('app.client')::uuid",
        violation="DROP TABLE public.migration_log",
        object="public.uploads.client_id",
        problem="and goes to the default organization after the migration$",
        mended_by="--skip-table uploads",
    ),
    Case(
        "client_id_has_no_other_default",
        "users",
        near_miss="ALTER TABLE public.users ADD client_id uuid GENERATED ALWAYS AS (id) STORED",
        violation="ALTER TABLE public.users DROP client_id, ADD client_id uuid;"
        "ALTER TABLE public.users ALTER client_id SET DEFAULT current_setting('app.client')::uuid",
        object="public.users.client_id",
        problem="and goes to the default organization after the migration$",
        mended_by="ALTER TABLE public.users ALTER COLUMN client_id DROP DEFAULT, where the application .* itself$",
        by_hand="ALTER TABLE public.users ALTER COLUMN client_id DROP DEFAULT",
    ),
    Case(
        "triggers_do_not_fill_client_id",
        "in its body",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        + FILLING.format(name="other", when="BEFORE INSERT ON public.uploads FOR EACH ROW", column="filename")
        + FILLING.format(name="after", when="AFTER INSERT ON public.uploads FOR EACH ROW", column="client_id")
        + FILLING.format(name="on_update", when="BEFORE UPDATE ON public.uploads FOR EACH ROW", column="client_id")
        + FILLING.format(name="once", when="BEFORE INSERT ON public.uploads", column="client_id")
        # The column is added with its default, and is not there yet.
        + FILLING.format(name="elsewhere", when="BEFORE INSERT ON public.products FOR EACH ROW", column="client_id")
        + FILLING.format(name="off", when="BEFORE INSERT ON public.uploads FOR EACH ROW", column="client_id")
        + "ALTER TABLE public.uploads DISABLE TRIGGER off; ALTER TABLE public.email_logs ADD client_id uuid;"
        + FILLING.format(name="known", when="BEFORE INSERT ON public.email_logs FOR EACH ROW", column="client_id")
        + logged("set_client_id_default(email_logs)"),
        violation=FILLING.format(name="fills", when="BEFORE INSERT ON public.uploads FOR EACH ROW", column="client_id"),
        object="trigger fills on public.uploads",
        problem="finds the default organization there, and not NULL",
        mended_by="--skip-table uploads",
        by_hand="DROP TRIGGER fills ON public.uploads",
    ),
    Case(
        "triggers_do_not_fill_client_id",
        "in its condition",
        near_miss="ALTER TABLE public.uploads ADD client_id uuid;"
        f"ALTER TABLE public.uploads ALTER client_id SET DEFAULT '{DEFAULT_ORGANIZATION}';"
        + FILLING.format(
            name="fills",
            when="BEFORE INSERT ON public.uploads FOR EACH ROW WHEN (NEW.client_id IS NULL)",
            column="filename",
        ),
        violation="ALTER TABLE public.uploads ALTER client_id DROP DEFAULT",
        object="trigger fills on public.uploads",
        problem="finds the default organization there, and not NULL",
        mended_by="--skip-table uploads",
        by_hand="DROP TRIGGER fills ON public.uploads",
    ),
    *(
        Case(
            "pins_lock_no_client_out",
            title,
            near_miss=KEPT_APART + "ALTER TABLE public.email_logs ADD client_id uuid; UPDATE public.email_logs"
            " SET client_id = '11111111-1111-4111-8111-111111111111'; ALTER TABLE public.uploads ADD client_id uuid;"
            "CREATE POLICY fewer ON public.email_logs AS RESTRICTIVE TO authenticated USING (TRUE)",
            violation="DROP POLICY of_client ON public.products;" + violation,
            object="public.products",
            problem=r"^[1-9]\d* rows belong to other organizations than the default one, and authenticated, "
            rf"which may write them today, could not once it is kept to that one \({commands}\)$",
            mended_by="CREATE POLICY of_client ON public.products AS RESTRICTIVE TO authenticated",
            by_hand="DROP POLICY IF EXISTS of_client ON public.products;" + OF_CLIENT.format("AS RESTRICTIVE"),
            variant="deployed",
        )
        for title, violation, commands in (
            ("no policy by client", "", "DELETE, INSERT, UPDATE"),
            ("one beside another", OF_CLIENT.format("AS PERMISSIVE"), "DELETE, INSERT, UPDATE"),
            ("one for an update", OF_CLIENT.format("AS RESTRICTIVE FOR UPDATE"), "DELETE, INSERT"),
        )
    ),
    Case(
        "pins_lock_no_client_out",
        "left out",
        near_miss=KEPT_APART + "DROP POLICY of_client ON public.products;" + logged("add_client_id(products)"),
        violation="DROP TABLE public.migration_log; ALTER POLICY products_write ON public.products TO PUBLIC",
        object="public.products",
        problem="rows belong to other organizations than the default one",
        mended_by="--skip-table products",
        variant="deployed",
    ),
    Case(
        "pins_lock_no_client_out",
        "users",
        near_miss=KEPT_APART + "ALTER TABLE public.users DISABLE ROW LEVEL SECURITY, ADD client_id uuid;"
        "UPDATE public.users SET client_id = '11111111-1111-4111-8111-111111111111'",
        violation="ALTER TABLE public.users ENABLE ROW LEVEL SECURITY",
        object="public.users",
        problem=r"could not once it is kept to that one \(UPDATE\)$",
        mended_by=r"ON public.users AS RESTRICTIVE TO authenticated USING \(client_id = \.\.\.\)$",
        by_hand=OF_CLIENT.format("AS RESTRICTIVE").replace("products", "users"),
        variant="deployed",
    ),
    Case(
        "other_policies_are_relied_on",
        "restrictive",
        near_miss="ALTER TABLE public.products ADD client_id uuid; ALTER TABLE public.email_logs ADD client_id uuid;"
        + OF_CLIENT.format("AS PERMISSIVE")
        + OF_CLIENT.format("AS RESTRICTIVE FOR SELECT").replace("products", "email_logs")
        + "".join(
            f"ALTER TABLE public.{table} ADD client_id uuid;"
            + OF_CLIENT.format("AS RESTRICTIVE FOR UPDATE").replace("products", table)
            for table in ("transform_logs", "processing_logs")
        )
        + "ALTER TABLE public.transform_logs DISABLE ROW LEVEL SECURITY;"
        + logged("pin_client(processing_logs)")
        # What is no tenant table has another column in the place of the client.
        + "CREATE TABLE public.attic (client_id uuid); ALTER TABLE public.attic ENABLE ROW LEVEL SECURITY;"
        + OF_CLIENT.format("").replace("products", "attic"),
        # Beside it one that looks at something else, one of another command, and one of another table.
        violation="DROP TABLE public.migration_log; DROP POLICY of_client ON public.processing_logs;"
        "DROP POLICY of_client ON public.products;"
        + OF_CLIENT.format("AS RESTRICTIVE FOR UPDATE")
        + "CREATE POLICY by_id ON public.products FOR UPDATE TO authenticated USING (id IS NOT NULL);"
        "CREATE POLICY seen ON public.products FOR SELECT TO authenticated USING (client_id IS NOT NULL);"
        "CREATE POLICY elsewhere ON public.attic FOR UPDATE TO authenticated"
        " USING (client_id IN (SELECT client_id FROM public.products))",
        object="public.products",
        problem=r"does not keep anon, authenticated to the default organization here \(UPDATE\), and relies on what "
        "looks at client_id: policy of_client$",
        mended_by="see that it lets nobody write a row of another client",
        by_hand="DROP POLICY of_client ON public.products",
        variant="deployed",
    ),
    Case(
        "client_id_points_to_organizations",
        "no organizations",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid",
        violation="UPDATE public.uploads SET client_id = id",
        object="public.uploads.client_id",
        problem="[1-9][0-9]* rows point to [1-9][0-9]* organizations that do not exist",
        mended_by="set the values to NULL",
        by_hand="UPDATE public.uploads SET client_id = NULL",
    ),
    Case(
        "client_id_points_to_organizations",
        "some",
        near_miss=ORGANIZATIONS + OWN_CLIENT_ID,
        violation="UPDATE public.email_logs SET client_id = '22222222-2222-4222-8222-222222222222'"
        " WHERE client_id IS NOT NULL",
        object="public.email_logs.client_id",
        problem="1 rows point to 1 organizations that do not exist",
        mended_by="create those organizations",
        by_hand="INSERT INTO public.organizations (id, name, slug)"
        " VALUES ('22222222-2222-4222-8222-222222222222', 'Second', 'second')",
    ),
    Case(
        "rows_agree_with_their_parent",
        "other client",
        near_miss=ORGANIZATIONS
        + """
            ALTER TABLE public.transform_logs ADD COLUMN client_id uuid
                REFERENCES public.organizations (id) ON DELETE RESTRICT;
            ALTER TABLE public.transform_logs ALTER COLUMN upload_id DROP NOT NULL;
            UPDATE public.transform_logs SET client_id = '11111111-1111-4111-8111-111111111111', upload_id = NULL
            WHERE id IN (SELECT id FROM public.transform_logs ORDER BY id LIMIT 1);
        """,
        violation="UPDATE public.transform_logs SET upload_id = u.id FROM public.uploads AS u"
        " WHERE transform_logs.client_id IS NOT NULL",
        object="public.transform_logs",
        problem="1 rows would belong to another client than the row of public.uploads that their upload_id names",
        mended_by="give them the client of what they belong to",
        by_hand="UPDATE public.transform_logs SET client_id = NULL",
    ),
    Case(
        "rows_agree_with_their_parent",
        "no client",
        near_miss="""
            SET ROLE app_owner;
            ALTER TABLE public.uploads ADD COLUMN client_id uuid;
            DELETE FROM public.sellout_entries2;
            DELETE FROM public.processing_logs;
        """,
        violation=ORGANIZATIONS + "UPDATE public.uploads SET client_id = '11111111-1111-4111-8111-111111111111'"
        " WHERE id IN (SELECT upload_id FROM public.transform_logs ORDER BY 1 LIMIT 1)",
        object="public.transform_logs",
        problem=r"[1-9]\d* rows would belong to another client than the row of public.uploads that their upload_id",
        mended_by="ALTER TABLE public.transform_logs ADD COLUMN client_id uuid; UPDATE .*",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "another table",
        near_miss="CREATE TABLE public.clients (id uuid PRIMARY KEY);"
        "ALTER TABLE public.uploads ADD COLUMN owner_id uuid REFERENCES public.clients (id)",
        violation="ALTER TABLE public.uploads ADD COLUMN client_id uuid REFERENCES public.clients (id)",
        object="constraint uploads_client_id_fkey on public.uploads",
        problem="ties client_id in another way: FOREIGN KEY",
        mended_by="ALTER TABLE public.uploads DROP CONSTRAINT uploads_client_id_fkey",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "cascades",
        near_miss=ORGANIZATIONS + "ALTER TABLE public.uploads ADD COLUMN client_id uuid"
        " REFERENCES public.organizations (id) ON DELETE RESTRICT",
        violation="ALTER TABLE public.email_logs ADD COLUMN client_id uuid"
        " REFERENCES public.organizations (id) ON DELETE CASCADE",
        object="constraint email_logs_client_id_fkey on public.email_logs",
        problem="ties client_id in another way: FOREIGN KEY .* ON DELETE CASCADE",
        mended_by="ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_client_id_fkey",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "not enforced",
        near_miss=ORGANIZATIONS + "ALTER TABLE public.uploads ADD COLUMN client_id uuid"
        " REFERENCES public.organizations (id) ON DELETE RESTRICT",
        violation="ALTER TABLE public.uploads ALTER CONSTRAINT uploads_client_id_fkey NOT ENFORCED",
        object="constraint uploads_client_id_fkey on public.uploads",
        problem="ties client_id in another way: FOREIGN KEY .* NOT ENFORCED",
        mended_by="ALTER TABLE public.uploads DROP CONSTRAINT uploads_client_id_fkey",
        pg=">= 18",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "name taken",
        near_miss="ALTER TABLE public.products ADD CONSTRAINT uploads_client_id_fkey CHECK (ean <> '')",
        violation="ALTER TABLE public.uploads ADD CONSTRAINT uploads_client_id_fkey CHECK (filename <> '')",
        object="constraint uploads_client_id_fkey on public.uploads",
        problem="has the name of the foreign key to come: CHECK",
        mended_by="ALTER TABLE public.uploads RENAME CONSTRAINT uploads_client_id_fkey"
        " TO former_uploads_client_id_fkey",
    ),
    Case(
        "client_id_foreign_key_restricts",
        "name of the check taken",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid,"
        " ADD CONSTRAINT phase_1_client_id_check CHECK (client_id IS NOT NULL) NOT VALID",
        violation="ALTER TABLE public.uploads DROP CONSTRAINT phase_1_client_id_check,"
        " ADD CONSTRAINT phase_1_client_id_check CHECK (filename <> '')",
        object="constraint phase_1_client_id_check on public.uploads",
        problem="has the name of the foreign key to come: CHECK",
        mended_by="ALTER TABLE public.uploads RENAME CONSTRAINT phase_1_client_id_check"
        " TO former_phase_1_client_id_check",
    ),
    Case(
        "index_name_is_free",
        "other columns",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        "CREATE INDEX idx_uploads_client_user_id ON public.uploads (client_id, user_id);"
        "CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status)"
        " WHERE status = 'processing' OR status = 'pending';"
        # A plan that has the columns by their numbers.
        "ALTER ROLE app_owner IN DATABASE {database} SET enable_nestloop = off;"
        "ALTER ROLE app_owner IN DATABASE {database} SET enable_hashjoin = off",
        violation="ALTER TABLE public.products ADD client_id uuid;"
        "CREATE INDEX idx_products_client_ean ON public.products (client_id, ean) INCLUDE (name)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="ALTER INDEX public.idx_products_client_ean RENAME TO former_idx_products_client_ean",
    ),
    Case(
        "index_name_is_free",
        "other order",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        "CREATE INDEX idx_uploads_client_created_at ON public.uploads (client_id, created_at DESC)",
        violation="DROP INDEX public.idx_uploads_client_created_at;"
        "CREATE INDEX idx_uploads_client_created_at ON public.uploads (client_id, created_at DESC NULLS LAST)",
        object="public.idx_uploads_client_created_at",
        problem="is another index: CREATE INDEX",
        mended_by="--skip-index idx_uploads_client_created_at",
    ),
    *(
        Case(
            "index_name_is_free",
            title,
            violation="ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
            f"CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status) WHERE status {rows}",
            object="public.idx_uploads_client_status",
            problem="is another index: CREATE INDEX",
            mended_by="ALTER INDEX public.idx_uploads_client_status RENAME TO former_idx_uploads_client_status",
        )
        for title, rows in (
            ("other rows", "NOT IN ('pending', 'processing')"),
            ("fewer rows", "= 'pending'"),
        )
    ),
    Case(
        "index_name_is_free",
        "unique",
        violation="ALTER TABLE public.products ADD COLUMN client_id uuid;"
        "CREATE UNIQUE INDEX idx_products_client_ean ON public.products (client_id, ean)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE UNIQUE INDEX",
        mended_by="--skip-index idx_products_client_ean",
    ),
    Case(
        "index_name_is_free",
        "the same columns of another table",
        violation="CREATE TABLE public.attic (client_id uuid, ean text);"
        "CREATE INDEX idx_products_client_ean ON public.attic (client_id, ean)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX idx_products_client_ean ON public.attic",
        mended_by="--skip-index idx_products_client_ean",
    ),
    Case(
        "index_name_is_free",
        "a view",
        near_miss="CREATE SCHEMA attic; CREATE TABLE attic.idx_products_client_ean (ean text)",
        violation="CREATE VIEW public.idx_products_client_ean AS SELECT 1 AS one",
        object="public.idx_products_client_ean",
        problem="is the name of another object",
        mended_by="--skip-index idx_products_client_ean",
    ),
    Case(
        "index_name_is_free",
        "of a partition",
        near_miss='CREATE INDEX "idx_Sales 2026_client_reseller" ON public."Sales 2026" (reseller);'
        'ALTER TABLE public.sellout_entries2 DETACH PARTITION public."Sales 2026"',
        violation="CREATE INDEX idx_sellout_entries2_2025_client_upload_id ON public.sellout_entries2_2025 (upload_id)",
        object="public.idx_sellout_entries2_2025_client_upload_id",
        problem="is another index: CREATE INDEX",
        mended_by="ALTER INDEX public.idx_sellout_entries2_2025_client_upload_id"
        " RENAME TO former_idx_sellout_entries2_2025_client_upload_id",
        variant="founding-partitioned",
    ),
    Case(
        "index_name_is_free",
        "a table in the place of one of a partition",
        violation="CREATE TABLE public.idx_sellout_entries2_2025_client_upload_id ()",
        object="public.idx_sellout_entries2_2025_client_upload_id",
        problem="is the name of another object",
        mended_by="--skip-index idx_sellout_entries2_client_upload_id",
        variant="founding-partitioned",
    ),
    Case(
        "index_name_is_free",
        "of another kind",
        violation="ALTER TABLE public.products ADD COLUMN client_id uuid;"
        "CREATE INDEX idx_products_client_ean ON public.products USING brin (client_id, ean)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="--skip-index idx_products_client_ean",
    ),
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
    *(
        Case(
            "event_triggers_are_trusted",
            f"{event}, {stage}",
            near_miss="CREATE FUNCTION public.audited() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
            f"CREATE EVENT TRIGGER audited ON {event} EXECUTE FUNCTION public.audited()",
            violation="ALTER FUNCTION public.audited() OWNER TO {role}",
            object="event trigger audited",
            problem=r"runs public.audited\(\), which belongs to \S+_role, at every step",
            mended_by=r"ALTER FUNCTION public.audited\(\) OWNER TO app_owner",
            stages=(stage,),
        )
        for stage, event in (("preflight", "ddl_command_end"), ("rollback", "sql_drop"))
    ),
    *(
        Case(
            "log_is_written_by_who_owns_the_tables",
            f"{title}, {stage}",
            near_miss=f"{log} GRANT SELECT, REFERENCES ON public.migration_log TO {{role}};"
            "GRANT ALL ON public.migration_log TO {superuser}",
            violation=violation,
            object="public.migration_log",
            problem=r"^\S+_role may write to it",
            mended_by=mended_by,
            user=user,
            user_by_hand=user,
            stages=(stage,),
        )
        for stage, log in (("preflight", LOG), ("rollback", "SET ROLE app_owner;"))
        for title, violation, mended_by, user in (
            ("a grant", "GRANT INSERT (operation) ON public.migration_log TO {role}", "REVOKE .* FROM .*", OWNER),
            ("triggers", "GRANT TRIGGER ON public.migration_log TO {role}", "REVOKE .* FROM .*", OWNER),
        )
    ),
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
    Case(
        "row_security_lets_the_owner_through",
        "forced",
        near_miss="ALTER TABLE public.uploads FORCE ROW LEVEL SECURITY;"
        "ALTER TABLE public.email_logs ENABLE ROW LEVEL SECURITY, OWNER TO {superuser}",
        violation="ALTER TABLE public.email_logs OWNER TO app_owner;"
        "ALTER TABLE public.uploads ENABLE ROW LEVEL SECURITY",
        object="public.uploads",
        problem="has FORCE ROW LEVEL SECURITY, and app_owner cannot bypass it",
        mended_by="ALTER TABLE public.uploads NO FORCE ROW LEVEL SECURITY",
    ),
    Case(
        "row_security_lets_the_owner_through",
        "forced on a partition",
        near_miss="ALTER TABLE public.sellout_entries2_2025 FORCE ROW LEVEL SECURITY",
        violation="ALTER TABLE public.sellout_entries2_2025 ENABLE ROW LEVEL SECURITY",
        object="public.sellout_entries2_2025",
        problem="has FORCE ROW LEVEL SECURITY, and app_owner cannot bypass it",
        mended_by="ALTER TABLE public.sellout_entries2_2025 NO FORCE ROW LEVEL SECURITY",
        variant="founding-partitioned",
    ),
    Case(
        "row_type_is_not_a_column_type",
        "table",
        near_miss="ALTER TABLE public.products ADD client_id uuid; CREATE TABLE public.shelf (product public.products);"
        "CREATE TYPE public.size AS (width int); CREATE TABLE public.boxes (size public.size);"
        "CREATE VIEW public.whole AS SELECT u FROM public.uploads AS u;"
        "CREATE FUNCTION public.name_of(public.uploads) RETURNS text LANGUAGE sql AS 'SELECT $1.filename'",
        violation="CREATE TABLE public.history (was public.uploads); CREATE TABLE public.older (was public.history)",
        object="public.history.was",
        problem="is of the row type of public.uploads",
        mended_by="change that column first",
        by_hand="DROP TABLE public.older; ALTER TABLE public.history ALTER was TYPE text",
    ),
    Case(
        "row_type_is_not_a_column_type",
        "nested",
        near_miss="CREATE TYPE public.pair AS (before public.uploads, after public.uploads);"
        "CREATE VIEW public.pairs AS SELECT NULL::public.pair AS both;"
        "CREATE TYPE public.span AS RANGE (SUBTYPE = public.pairs); CREATE DOMAIN public.spans AS public.span[]",
        violation="CREATE TABLE public.history (changes public.spans)",
        object="public.history.changes",
        problem="is of the row type of public.uploads",
        mended_by="--skip-table uploads",
    ),
    Case(
        "attribute_numbers_are_left",
        "none",
        near_miss=add_columns("email_logs", 1599)
        + "; ALTER TABLE public.uploads ADD client_id uuid;"
        # The last one is the one that is needed.
        + add_columns("uploads", 1600),
        violation=add_columns("email_logs", 1600),
        object="public.email_logs",
        problem="has used up 1600 of the 1,600 columns",
        mended_by="copy the table into a new one",
        by_hand="CREATE TABLE public.fresh AS TABLE public.email_logs; DROP TABLE public.email_logs;"
        "ALTER TABLE public.fresh OWNER TO app_owner; ALTER TABLE public.fresh RENAME TO email_logs",
    ),
    Case(
        "few_attribute_numbers_are_left",
        "hundred",
        near_miss=add_columns("email_logs", 1499),
        violation=add_columns("email_logs", 1500),
        object="public.email_logs",
        problem="has used up 1500 of the 1,600 columns",
        mended_by="do not rehearse on this very table",
        by_hand="CREATE TABLE public.fresh AS TABLE public.email_logs; DROP TABLE public.email_logs;"
        "ALTER TABLE public.fresh OWNER TO app_owner; ALTER TABLE public.fresh RENAME TO email_logs",
    ),
    Case(
        "few_attribute_numbers_are_left",
        "one",
        violation=add_columns("email_logs", 1599),
        object="public.email_logs",
        problem="has used up 1599 of the 1,600 columns",
        mended_by="do not rehearse on this very table",
        by_hand="CREATE TABLE public.fresh AS TABLE public.email_logs; DROP TABLE public.email_logs;"
        "ALTER TABLE public.fresh OWNER TO app_owner; ALTER TABLE public.fresh RENAME TO email_logs",
    ),
    Case(
        "uuids_can_be_generated",
        "no pgcrypto",
        near_miss="CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO app_owner;"
        "ALTER EXTENSION pgcrypto SET SCHEMA extensions",
        violation="DROP EXTENSION pgcrypto",
        object=r"gen_random_uuid\(\)",
        problem="PostgreSQL 12 has none of its own, and app_owner may not create the extension pgcrypto",
        mended_by="CREATE EXTENSION pgcrypto WITH SCHEMA public",
        pg="< 13",
    ),
    *(
        Case(
            "uuids_can_be_generated",
            title,
            near_miss=f"ALTER FUNCTION pg_catalog.gen_random_uuid() OWNER TO {trusted};" + AVAILABLE.format("pgcrypto"),
            # as if PostgreSQL had none of its own, but one that somebody has made, and one that is something else
            violation="CREATE FUNCTION public.gen_random_uuid(int) RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';"
            "ALTER FUNCTION pg_catalog.gen_random_uuid() OWNER TO {role};" + AVAILABLE.format(available),
            object=r"gen_random_uuid\(\)",
            problem="may not create the extension pgcrypto",
            mended_by="CREATE EXTENSION pgcrypto WITH SCHEMA public",
            by_hand="ALTER FUNCTION pg_catalog.gen_random_uuid() OWNER TO {superuser}",
            user=user,
            user_by_hand=user,
            pg=">= 13",
        )
        for title, user, trusted, available in (
            ("somebody else's", OWNER, OWNER, "pgcrypto"),
            ("no pgcrypto to be had", None, "{role}", "hstore"),
        )
    ),
    Case(
        "roles_exist",
        "unknown",
        near_miss_options=("--grant-execute-to", "authenticator"),
        violation="",
        options=("--grant-execute-to", "nobody_here"),
        object="role nobody_here",
        problem="does not exist on this server",
        mended_by="correct --grant-execute-to",
        options_by_hand=("--grant-execute-to", "authenticator"),
    ),
    Case(
        "index_values_fit",
        "reseller",
        # PLAIN: as long as it looks, with the four bytes of its header.
        near_miss="ALTER TABLE public.sellout_entries2 ALTER COLUMN reseller SET STORAGE PLAIN;"
        " UPDATE public.sellout_entries2 SET reseller = repeat('x', 2596) WHERE id = 1",
        violation="ALTER TABLE public.sellout_entries2 ALTER COLUMN reseller SET STORAGE EXTENDED;"
        f" UPDATE public.sellout_entries2 SET reseller = '{TOO_LONG}' WHERE id = 1",
        object="public.sellout_entries2.reseller",
        problem="has 1 values of more than 2,600 bytes as they are stored",
        mended_by=r"pg_column_size\(reseller\) > 2600",
        by_hand="UPDATE public.sellout_entries2 SET reseller = left(reseller, 20)"
        " WHERE pg_column_size(reseller) > 2600",
    ),
    Case(
        "index_values_fit",
        "a domain",
        near_miss="DROP VIEW public.sales_by_month;"
        "CREATE DOMAIN public.shop AS text; CREATE DOMAIN public.reseller AS public.shop;"
        "ALTER TABLE public.sellout_entries2 ALTER reseller TYPE public.reseller",
        violation=f"UPDATE public.sellout_entries2 SET reseller = '{TOO_LONG}' WHERE id = 1",
        object="public.sellout_entries2.reseller",
        problem="has 1 values of more than 2,600 bytes as they are stored",
        mended_by=r"pg_column_size\(reseller\) > 2600",
        by_hand="UPDATE public.sellout_entries2 SET reseller = left(reseller, 20)"
        " WHERE pg_column_size(reseller) > 2600",
    ),
    Case(
        "named_roles_may_execute",
        "named too late",
        near_miss_options=("--grant-execute-to", "service_role"),
        violation="",
        options=("--grant-execute-to", "authenticator"),
        object=r"public\.(get_user_organization_id|validate_client_access)\(.*\)",
        problem="not granted to it now",
        mended_by="GRANT EXECUTE ON FUNCTION .* TO authenticator",
        variant="founding-migrated",
    ),
    Case(
        "columns_are_not_granted_one_by_one",
        "every column",
        near_miss="GRANT SELECT (id, recipient) ON public.email_logs TO authenticator;"
        "GRANT INSERT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs TO authenticator;"
        # as many as there are, with one that nobody counts
        "GRANT SELECT (id, recipient, subject, status, sent_at, tableoid) ON public.email_logs TO anon;"
        # that of this table, with its client_id
        "DROP VIEW public.sales_by_month; ALTER TABLE public.products ADD client_id uuid;"
        "GRANT SELECT (id, ean, name, functional_name, category, list_price_eur, is_active, created_at, client_id)"
        " ON public.products TO authenticator;"
        "ALTER TABLE public.email_logs ADD priority int; GRANT SELECT (priority) ON public.email_logs TO authenticator;"
        "GRANT SELECT (id, recipient, subject, status, priority) ON public.email_logs TO service_role;"
        "GRANT SELECT (sent_at) ON public.email_logs TO service_role; ALTER TABLE public.email_logs DROP priority",
        violation="GRANT SELECT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs"
        " TO authenticator",
        object="public.email_logs",
        problem="granted to authenticator column by column",
        mended_by=r"GRANT SELECT \(client_id\) ON public.email_logs TO authenticator",
        by_hand="GRANT SELECT ON public.email_logs TO authenticator",
    ),
    Case(
        "columns_are_not_granted_one_by_one",
        "beside everybody",
        near_miss="GRANT SELECT ON public.email_logs TO PUBLIC;"
        "GRANT SELECT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs TO authenticator",
        violation="REVOKE SELECT ON public.email_logs FROM PUBLIC;"
        # What another may see, or what else this one may do, is nothing to it.
        "GRANT SELECT ON public.email_logs TO anon; GRANT INSERT ON public.email_logs TO authenticator;"
        "GRANT SELECT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs TO authenticator",
        object="public.email_logs",
        problem="granted to authenticator column by column",
        mended_by=r"GRANT SELECT \(client_id\) ON public.email_logs TO authenticator",
        by_hand="GRANT SELECT ON public.email_logs TO authenticator",
    ),
    Case(
        "functions_do_not_select_star",
        "setof record",
        near_miss="""
            CREATE FUNCTION public.all_mail() RETURNS SETOF public.email_logs LANGUAGE sql
                AS 'SELECT * FROM public.email_logs';
            CREATE FUNCTION public.mail_count() RETURNS TABLE (n bigint) LANGUAGE sql
                AS 'SELECT count(*) FROM public.email_logs';
            CREATE FUNCTION public.other() RETURNS TABLE (id int) LANGUAGE sql
                AS 'SELECT * FROM (SELECT 1) AS x WHERE 2 * 3 > (SELECT count(*) FROM public.email_logs)';
            CREATE FUNCTION public.any_recipient() RETURNS text LANGUAGE sql
                AS 'SELECT m.recipient FROM (SELECT * FROM public.email_logs) AS m LIMIT 1';
            CREATE FUNCTION public.mail_recipients() RETURNS SETOF text LANGUAGE sql
                AS 'SELECT recipient FROM public.email_logs';
        """,
        violation="CREATE FUNCTION public.mail_list() RETURNS TABLE (id uuid,"
        " recipient text, subject text, status text,"
        " sent_at timestamptz, created_at timestamptz) LANGUAGE plpgsql"
        " AS 'BEGIN RETURN QUERY SELECT m.* FROM email_logs AS m; END'",
        object=r"public.mail_list\(\)",
        problem="SELECT \\* from public.email_logs, and fails once that has one column more",
        mended_by="name the columns in it before the migration",
        by_hand="CREATE OR REPLACE FUNCTION public.mail_list() RETURNS TABLE (id uuid, recipient text, subject text,"
        " status text, sent_at timestamptz, created_at timestamptz) LANGUAGE sql"
        " AS 'SELECT id, recipient, subject, status, sent_at, created_at FROM public.email_logs'",
    ),
    Case(
        "functions_do_not_select_star",
        "one row of SQL",
        violation="CREATE FUNCTION public.first_mail(OUT id uuid, OUT recipient text,"
        " OUT subject text, OUT status text,"
        " OUT sent_at timestamptz, OUT created_at timestamptz) LANGUAGE sql"
        " AS 'SELECT * FROM public.email_logs ORDER BY created_at LIMIT 1'",
        object=r"public.first_mail\(\)",
        problem="SELECT \\* from public.email_logs, and fails once that has one column more",
        mended_by="name the columns in it before the migration",
        by_hand="DROP FUNCTION public.first_mail()",
    ),
    *(
        Case(
            "triggers_do_not_copy_whole_rows",
            title,
            near_miss="CREATE TABLE public.past AS SELECT * FROM public.products WHERE FALSE;"
            "CREATE TABLE public.changes (at timestamptz, change jsonb);"
            + HISTORY.format(
                name="as_json",
                table="products",
                body="IF NEW.* IS DISTINCT FROM OLD.* THEN INSERT INTO public.changes VALUES (now(), to_jsonb(NEW.*))"
                "; END IF",
            )
            + HISTORY.format(name="named", table="products", body="INSERT INTO public.past (ean) SELECT OLD.ean")
            + HISTORY.format(name="off", table="products", body="INSERT INTO public.past SELECT OLD.*")
            + "ALTER TABLE public.products DISABLE TRIGGER off;"
            + HISTORY.format(name="of_another", table="past", body="INSERT INTO public.past SELECT OLD.*"),
            violation=HISTORY.format(name="copied", table="products", body=body),
            object=r"public.copied\(\)",
            problem="is run by a trigger on public.products and inserts the whole row",
            mended_by="name the columns in it before the migration",
            by_hand="CREATE OR REPLACE FUNCTION public.copied() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN INSERT INTO public.past (id, ean) VALUES (OLD.id, OLD.ean); RETURN NEW; END'",
        )
        for title, body in (
            ("SELECT", "INSERT INTO public.past SELECT OLD.*"),
            ("VALUES", "insert into public.past\n values(new.*)"),
            ("in brackets", "INSERT INTO public.past (ean) SELECT 'now', (OLD).*"),
        )
    ),
    Case(
        "triggers_do_not_copy_whole_rows",
        "where there is no client_id any more",
        near_miss="CREATE TABLE public.past AS SELECT * FROM public.products WHERE FALSE;"
        "ALTER TABLE public.products ADD COLUMN client_id uuid; ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        + HISTORY.format(name="copied", table="products", body="INSERT INTO public.past SELECT OLD.*"),
        violation="ALTER TABLE public.products DROP COLUMN client_id",
        object=r"public.copied\(\)",
        problem="is run by a trigger on public.products and inserts the whole row",
        mended_by="name the columns in it before the migration",
        by_hand="DROP TRIGGER copied ON public.products",
    ),
    Case(
        "triggers_do_not_copy_whole_rows",
        "of a partition",
        near_miss=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT;"
        "CREATE TABLE public.past (id uuid, created_at timestamptz) PARTITION BY RANGE (created_at);"
        "CREATE TABLE public.past_default PARTITION OF public.past DEFAULT;"
        + HISTORY.format(name="kept", table="past_default", body="INSERT INTO public.past SELECT OLD.*"),
        violation=HISTORY.format(name="copied", table="mails_default", body="INSERT INTO public.past SELECT OLD.*"),
        object=r"public.copied\(\)",
        problem="is run by a trigger on public.email_logs and inserts the whole row",
        mended_by="name the columns in it before the migration",
        by_hand="DROP TRIGGER copied ON public.mails_default",
    ),
    Case(
        "triggers_will_fire_on_the_fill",
        "on update",
        near_miss=ORGANIZATIONS
        + OWN_CLIENT_ID
        + """
            RESET ROLE;
            CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            CREATE TRIGGER on_insert BEFORE INSERT ON public.email_logs FOR EACH ROW EXECUTE FUNCTION public.stamp();
            CREATE TRIGGER on_name BEFORE UPDATE OF recipient ON public.email_logs
                FOR EACH ROW EXECUTE FUNCTION public.stamp();
            CREATE TRIGGER elsewhere BEFORE UPDATE ON public.products FOR EACH ROW EXECUTE FUNCTION public.stamp();
            -- the triggers of a foreign key are PostgreSQL's own
            CREATE TABLE public.answers (mail uuid REFERENCES public.email_logs (id));
            -- at the place of the recipient
            CREATE TABLE public.clients (id uuid, client_id uuid);
        """,
        violation="CREATE TRIGGER on_update BEFORE UPDATE ON public.email_logs"
        " FOR EACH ROW EXECUTE FUNCTION public.stamp()",
        object="trigger on_update on public.email_logs",
        problem="is applied to the rows whose client_id is filled",
        mended_by="see what it does to a row that is updated",
        by_hand="ALTER TABLE public.email_logs DISABLE TRIGGER on_update",
    ),
    Case(
        "triggers_will_fire_on_the_fill",
        "rule",
        near_miss="ALTER TABLE public.email_logs ADD COLUMN client_id uuid;"
        "CREATE RULE kept AS ON DELETE TO public.email_logs DO INSTEAD NOTHING;"
        "CREATE RULE elsewhere AS ON UPDATE TO public.products DO INSTEAD NOTHING",
        violation="CREATE RULE never AS ON UPDATE TO public.email_logs DO INSTEAD NOTHING",
        object="rule never on public.email_logs",
        problem=r"is applied to the rows whose client_id is filled, .* the migration stops there \(23514\)",
        mended_by="see what it does to a row that is updated",
        by_hand="ALTER TABLE public.email_logs DISABLE RULE never",
    ),
    Case(
        "triggers_will_fire_on_the_fill",
        "nothing to fill",
        near_miss=ORGANIZATIONS
        + OWN_CLIENT_ID
        + """
            RESET ROLE;
            CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            UPDATE public.email_logs SET client_id = '11111111-1111-4111-8111-111111111111';
            CREATE TRIGGER on_update BEFORE UPDATE ON public.email_logs FOR EACH ROW EXECUTE FUNCTION public.stamp();
        """,
        violation="ALTER TABLE public.email_logs DISABLE TRIGGER USER; UPDATE public.email_logs SET client_id = NULL;"
        "ALTER TABLE public.email_logs ENABLE TRIGGER USER",
        object="trigger on_update on public.email_logs",
        problem="is applied to the rows whose client_id is filled",
        mended_by="see what it does to a row that is updated",
        by_hand="DROP TRIGGER on_update ON public.email_logs",
    ),
    *(
        Case(
            "triggers_name_the_schema",
            f"event trigger on {event}",
            near_miss=DDL_AUDIT.format(name="audit", setting="", insert='INSERT INTO "public" . ddl_audit', event=event)
            + DDL_AUDIT.format(
                name="fixed", setting="SET search_path = public", insert="INSERT INTO ddl_audit", event=event
            )
            + HISTORY.format(name="logged", table="uploads", body="UPDATE ddl_audit SET tag = ''"),
            violation="CREATE OR REPLACE FUNCTION public.audit() RETURNS event_trigger LANGUAGE plpgsql"
            ' AS $$ BEGIN insert into\n "ddl_audit" VALUES (tg_tag); END $$',
            object=r"public.audit\(\)",
            problem="is run by event trigger audit with an empty search_path, and names ddl_audit without its schema",
            mended_by=r"ALTER FUNCTION public.audit\(\) SET search_path = public",
            stages=("rollback",) if event == "sql_drop" else ("preflight",),
        )
        for event in ("ddl_command_start", "ddl_command_end", "sql_drop")
    ),
    Case(
        "triggers_name_the_schema",
        "on the rows that are filled",
        near_miss="CREATE TABLE public.changes (id uuid); ALTER TABLE public.products ADD COLUMN client_id uuid;"
        + HISTORY.format(name="logged", table="uploads", body="INSERT INTO changes VALUES (OLD.id)")
        + HISTORY.format(name="off", table="products", body="INSERT INTO changes VALUES (OLD.id)")
        + "ALTER TABLE public.products DISABLE TRIGGER off;"
        "CREATE TRIGGER on_insert BEFORE INSERT ON public.products FOR EACH ROW EXECUTE FUNCTION public.off();"
        "CREATE TRIGGER on_ean BEFORE UPDATE OF ean ON public.products FOR EACH ROW EXECUTE FUNCTION public.off();"
        # What is found without a path, and what is no table.
        "CREATE TYPE public.moment AS (at timestamptz);"
        + HISTORY.format(
            name="named",
            table="products",
            body="INSERT INTO public.changes WITH columns AS (SELECT OLD.id) SELECT id FROM columns;"
            " PERFORM extract(YEAR FROM moment) FROM pg_class, (SELECT now()) AS its (moment)",
        )
        # A client_id that has no NULL is not filled.
        + "TRUNCATE public.email_logs; ALTER TABLE public.email_logs ADD COLUMN client_id uuid NOT NULL;"
        "CREATE TRIGGER filled BEFORE UPDATE ON public.email_logs FOR EACH ROW EXECUTE FUNCTION public.off();"
        + DDL_AUDIT.format(name="rewritten", setting="", insert="INSERT INTO ddl_audit", event="table_rewrite")
        + DDL_AUDIT.format(name="past", setting="", insert="INSERT INTO ddl_audit", event="ddl_command_end")
        + "ALTER EVENT TRIGGER past DISABLE",
        # Another setting than that of the path is of no use.
        violation=HISTORY.format(name="changed", table="products", body="INSERT INTO changes VALUES (OLD.id)")
        + "ALTER FUNCTION public.changed() SET work_mem = '4MB'",
        object=r"public.changed\(\)",
        problem="is run by trigger changed on public.products with an empty search_path, and names changes without",
        mended_by=r"ALTER FUNCTION public.changed\(\) SET search_path = public",
        stages=("preflight",),
    ),
    Case(
        "triggers_name_the_schema",
        "on the rows that are emptied",
        near_miss=migrated_after(
            "CREATE TABLE public.changes (id uuid); ALTER TABLE public.products ADD COLUMN client_id uuid;"
            "TRUNCATE public.email_logs; ALTER TABLE public.email_logs ADD COLUMN client_id uuid NOT NULL",
            since=HISTORY.format(name="of_mails", table="email_logs", body="INSERT INTO changes VALUES (OLD.id)")
            + HISTORY.format(name="of_uploads", table="uploads", body="INSERT INTO changes VALUES (OLD.id)")
            + "ALTER TABLE public.uploads ALTER client_id DROP NOT NULL",
        ),
        violation=HISTORY.format(name="changed", table="products", body="INSERT INTO changes VALUES (OLD.id)"),
        object=r"public.changed\(\)",
        problem="is run by trigger changed on public.products with an empty search_path, and names changes without",
        mended_by=r"ALTER FUNCTION public.changed\(\) SET search_path = public",
        stages=("rollback",),
    ),
    Case(
        "filled_rows_can_be_published",
        "no key",
        near_miss="ALTER TABLE public.email_logs ADD client_id uuid; ALTER TABLE public.uploads ADD client_id uuid;"
        "ALTER TABLE public.products DROP CONSTRAINT products_pkey;"
        "CREATE PUBLICATION ours FOR TABLE public.email_logs, public.uploads, public.products;"
        "CREATE PUBLICATION inserts FOR TABLE public.sellout_entries2 WITH (publish = 'insert');"
        "ALTER TABLE public.sellout_entries2 DROP CONSTRAINT sellout_entries2_pkey, ADD client_id uuid;"
        "CREATE SCHEMA attic; CREATE TABLE attic.sellout_entries2 (id int);"
        "CREATE PUBLICATION past FOR TABLE attic.sellout_entries2",
        violation="ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_pkey",
        object="public.email_logs",
        problem=r"publication ours carries it without a key to know its rows by: none can be updated \(55000\)",
        mended_by="ALTER TABLE public.email_logs REPLICA IDENTITY FULL",
        stages=("preflight",),
    ),
    Case(
        "filled_rows_can_be_published",
        "no identity",
        near_miss=migrated_after(
            "ALTER TABLE public.email_logs ADD COLUMN client_id uuid, ADD UNIQUE (id);"
            "CREATE PUBLICATION ours FOR TABLE public.email_logs, public.uploads;",
            since="ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_pkey,"
            " REPLICA IDENTITY USING INDEX email_logs_id_key; ALTER TABLE public.uploads REPLICA IDENTITY NOTHING",
        ),
        violation="ALTER TABLE public.email_logs REPLICA IDENTITY DEFAULT",
        object="public.email_logs",
        problem="publication ours carries it without a key to know its rows by",
        mended_by="ALTER TABLE public.email_logs REPLICA IDENTITY FULL",
        stages=("rollback",),
    ),
    Case(
        "filled_rows_can_be_told",
        "mixed",
        near_miss=half_filled,
        violation="UPDATE public.products SET client_id = o.id FROM public.organizations AS o"
        " WHERE o.slug = 'default-org' AND client_id IS NOT NULL",
        object="public.products.client_id",
        problem="1 rows belong to the default organization already",
        mended_by="keep a copy of the key of the rows without a client",
        by_hand="UPDATE public.products SET client_id = '11111111-1111-4111-8111-111111111111' WHERE client_id IS NULL",
    ),
    Case(
        "publications_carry_no_tenant_table",
        "one",
        near_miss="CREATE TABLE public.news (id int PRIMARY KEY); CREATE PUBLICATION others FOR TABLE public.news;"
        "CREATE SCHEMA attic; CREATE TABLE attic.uploads (id int); CREATE PUBLICATION past FOR TABLE attic.uploads;"
        "ALTER TABLE public.products ADD client_id uuid; CREATE PUBLICATION known FOR TABLE public.products",
        violation="CREATE PUBLICATION ours FOR TABLE public.news, public.uploads",
        object="publication ours",
        problem="carries public.uploads: its subscribers stop at the first row with client_id",
        mended_by="add client_id on the subscribers first",
        by_hand="ALTER PUBLICATION ours DROP TABLE public.uploads",
    ),
    Case(
        "publications_carry_no_tenant_table",
        "some columns",
        near_miss="CREATE PUBLICATION ours FOR TABLE public.uploads (id, filename)",
        violation="CREATE PUBLICATION whole FOR TABLE public.uploads, public.users (id)",
        object="publication whole",
        problem="carries public.uploads",
        mended_by="add client_id on the subscribers first",
        by_hand="DROP PUBLICATION whole",
        pg=">= 15",
    ),
    *(
        Case(
            "publications_of_everything_are_expected",
            title,
            near_miss="CREATE SCHEMA attic; CREATE TABLE attic.news (id int PRIMARY KEY);"
            "CREATE PUBLICATION others FOR TABLE attic.news, public.uploads;" + near_miss,
            violation="CREATE PUBLICATION ours FOR " + violation,
            object="publication ours",
            problem="and so public.organizations, public.user_organizations, public.migration_log as soon as",
            mended_by="create them on the subscribers before the migration",
            by_hand="DROP PUBLICATION ours",
            pg=pg,
        )
        for title, near_miss, violation, pg in (
            ("all tables", "", "ALL TABLES", ""),
            (
                "schema",
                "CREATE PUBLICATION past FOR TABLES IN SCHEMA attic",
                "TABLES IN SCHEMA public, attic",
                ">= 15",
            ),
        )
    ),
    Case(
        "prepared_transactions_hold_no_lock",
        "reading",
        near_miss=prepare("pg_catalog.pg_description", "elsewhere"),
        violation=prepare("public.uploads", "here"),
        object="prepared transaction 'here_\\w+'",
        problem="holds AccessShareLock on public.uploads until somebody ends it",
        mended_by="ROLLBACK PREPARED 'here_\\w+'",
    ),
    Case(
        "indexes_of_the_table_are_valid",
        "of the application",
        near_miss="CREATE INDEX whole ON public.uploads (filename)",
        violation=invalid_index("broken", "(filename)"),
        object="index public.broken",
        problem="on public.uploads is invalid: it costs every write and serves no query",
        mended_by="REINDEX INDEX CONCURRENTLY public.broken",
    ),
    *(
        Case(
            "indexes_of_the_table_are_valid",
            title,
            near_miss="CREATE INDEX whole ON public.sellout_entries2 (country)",
            violation=violation,
            object=f"index public.{name}",
            problem="on public.sellout_entries2 is invalid: it costs every write and serves no query",
            mended_by=action,
            by_hand=by_hand,
            variant="founding-partitioned-migrated",
            stages=("preflight",),
        )
        for title, name, violation, action, by_hand in (
            (
                "frame of the application",
                "broken",
                "CREATE INDEX broken ON ONLY public.sellout_entries2 (country)",
                "build it on each partition that lacks it, and attach that: ALTER INDEX public.broken ATTACH PARTITION",
                "DROP INDEX public.broken",
            ),
            (
                "frame of ours",
                "idx_sellout_entries2_client_upload_id",
                "DROP INDEX public.idx_sellout_entries2_client_upload_id;"
                "CREATE INDEX idx_sellout_entries2_client_upload_id ON ONLY public.sellout_entries2"
                " (client_id, upload_id)",
                "nothing to do: it is valid with the last of its parts, which are built",
                migrated_again,
            ),
        )
    ),
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
    Case(
        "log_takes_known_states_only",
        "any state",
        near_miss=LOG,
        violation="ALTER TABLE public.migration_log DROP CONSTRAINT migration_log_status_check,"
        " ADD CHECK (status IN ('started', 'completed', 'failed', 'skipped', 'forgotten'))",
        object="public.migration_log",
        problem="takes a status other than started, completed, failed, skipped",
        mended_by=r"ALTER TABLE public.migration_log ADD CHECK \(.*\)",
    ),
    Case(
        "log_takes_known_states_only",
        "any number",
        near_miss=LOG,
        # as bigserial makes it
        violation="SET ROLE app_owner; ALTER TABLE public.migration_log ALTER COLUMN id DROP IDENTITY;"
        "CREATE SEQUENCE public.numbers OWNED BY public.migration_log.id;"
        "ALTER TABLE public.migration_log ALTER COLUMN id SET DEFAULT nextval('public.numbers')",
        object="public.migration_log.id",
        problem="is not a generated identity",
        mended_by="ALTER TABLE .* DROP DEFAULT; DROP SEQUENCE .*; ALTER TABLE .* ALWAYS AS IDENTITY",
    ),
    *(
        Case(
            "log_numbers_go_on",
            f"restored without its sequence, {stage}",
            near_miss=log
            + entry("migrate", "phase_0")
            + "ALTER TABLE public.migration_log ALTER COLUMN id RESTART WITH 1000",
            violation="ALTER TABLE public.migration_log ALTER COLUMN id RESTART WITH 1",
            object="public.migration_log.id",
            problem=r"has got as far as \d+, and its sequence would give 1 to the next entry",
            mended_by=r"SELECT setval\('public.migration_log_id_seq', \d+\)",
            stages=(stage,),
        )
        for stage, log in (("preflight", LOG), ("rollback", ""))
    ),
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
    Case(
        "new_tables_have_row_security",
        "off",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations DISABLE ROW LEVEL SECURITY",
        object="public.organizations",
        problem="has no row-level security",
        mended_by="ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY",
    ),
    Case(
        "new_tables_have_row_security",
        "no policy",
        near_miss=ORGANIZATIONS + "CREATE POLICY more ON public.organizations USING (TRUE)",
        violation="DROP POLICY phase_1_denied ON public.organizations",
        object="public.organizations",
        problem="has no policy phase_1_denied that denies the roles of the web API",
        mended_by="CREATE POLICY phase_1_denied ON public.organizations .*",
    ),
)


def _dependent(title: str, violation: str, object: str, problem: str, drop: str) -> Case:  # noqa: A002 - as Case has it
    return Case(
        "nothing_depends_on_what_is_dropped",
        title,
        near_miss="""
            CREATE VIEW public.names AS SELECT id, filename FROM public.uploads;
            CREATE FUNCTION public.clients() RETURNS SETOF uuid LANGUAGE plpgsql
                AS 'BEGIN RETURN QUERY SELECT id FROM public.organizations; END';
            CREATE INDEX on_names ON public.uploads (filename);
            CREATE TABLE public.notes (upload_id uuid REFERENCES public.uploads (id));
            INSERT INTO public.organizations (name, slug) VALUES ('Acme', 'acme');
            CREATE TABLE public.past (id uuid, client_id uuid);
        """,
        violation=violation,
        object=object,
        problem=f"was built on {problem}",
        mended_by="drop it, or change it",
        by_hand=drop,
    )


_COLUMN = "column client_id of table (public.)?uploads"
_CLIENTS = "table (public.)?organizations"

CASES += (
    _dependent(
        "view",
        "CREATE VIEW public.mine AS SELECT id FROM public.uploads WHERE client_id IS NOT NULL",
        "view (public.)?mine",
        _COLUMN,
        "DROP VIEW public.mine",
    ),
    _dependent(
        "materialized view",
        "CREATE MATERIALIZED VIEW public.mine AS SELECT count(*) FROM public.organizations",
        "materialized view (public.)?mine",
        _CLIENTS,
        "DROP MATERIALIZED VIEW public.mine",
    ),
    _dependent(
        "index",
        "CREATE INDEX mine ON public.uploads (client_id, filename)",
        "index (public.)?mine",
        _COLUMN,
        "DROP INDEX public.mine",
    ),
    _dependent(
        "statistics",
        "CREATE STATISTICS public.mine ON client_id, status FROM public.uploads",
        "statistics object (public.)?mine",
        _COLUMN,
        "DROP STATISTICS public.mine",
    ),
    _dependent(
        "check",
        "ALTER TABLE public.uploads ADD CONSTRAINT mine CHECK (client_id <> id)",
        "constraint mine on table (public.)?uploads",
        _COLUMN,
        "ALTER TABLE public.uploads DROP CONSTRAINT mine",
    ),
    _dependent(
        "generated column",
        "ALTER TABLE public.uploads ADD COLUMN mine text GENERATED ALWAYS AS (client_id::text) STORED",
        # PostgreSQL 12 to 14 name its expression instead
        "(default value for )?column mine of table (public.)?uploads",
        _COLUMN,
        "ALTER TABLE public.uploads DROP COLUMN mine",
    ),
    _dependent(
        "policy",
        "CREATE POLICY mine ON public.uploads USING (client_id = id)",
        "policy mine on table (public.)?uploads",
        _COLUMN,
        "DROP POLICY mine ON public.uploads",
    ),
    _dependent(
        "trigger",
        "CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER mine BEFORE UPDATE OF client_id ON public.uploads FOR EACH ROW EXECUTE FUNCTION public.stamp()",
        "trigger mine on table (public.)?uploads",
        _COLUMN,
        "DROP TRIGGER mine ON public.uploads",
    ),
    _dependent(
        "foreign key",
        "CREATE TABLE public.bills (client_id uuid CONSTRAINT mine REFERENCES public.organizations (id))",
        "constraint mine on table (public.)?bills",
        f"(index organizations_pkey|{_CLIENTS})|column id of {_CLIENTS}",
        "DROP TABLE public.bills",
    ),
    _dependent(
        "policy of a new table",
        # by its name it might be one of Phase 1
        "CREATE POLICY phase_1_client_pinned_mine ON public.organizations USING (is_active)",
        "policy phase_1_client_pinned_mine on table (public.)?organizations",
        _CLIENTS,
        "DROP POLICY phase_1_client_pinned_mine ON public.organizations",
    ),
    _dependent(
        "rule",
        "CREATE RULE mine AS ON DELETE TO public.notes DO ALSO UPDATE public.uploads SET client_id = OLD.upload_id",
        "rule mine on table (public.)?notes",
        _COLUMN,
        "DROP RULE mine ON public.notes",
    ),
    _dependent(
        "row type",
        "CREATE TABLE public.mine (was public.organizations)",
        "column was of table (public.)?mine",
        "type (public.)?organizations",
        "DROP TABLE public.mine",
    ),
    _dependent(
        "function",
        # at the place of a client_id
        "CREATE TABLE public.mine (id uuid, client uuid DEFAULT public.get_user_organization_id(NULL))",
        "default value for column client of table (public.)?mine",
        r"function (public.)?get_user_organization_id\(uuid\)",
        "DROP TABLE public.mine",
    ),
    Case(
        "nothing_depends_on_what_is_dropped",
        "what was there before",
        near_miss=migrated_after(
            ORGANIZATIONS,
            "ALTER TABLE public.email_logs ADD client_id uuid;"
            "CREATE VIEW public.mine AS SELECT recipient FROM public.email_logs WHERE client_id IS NOT NULL;"
            "CREATE VIEW public.names AS SELECT name FROM public.organizations;"
            "CREATE TABLE public.past (was public.organizations)",
        ),
        violation="CREATE VIEW public.members AS SELECT * FROM public.user_organizations",
        object="view (public.)?members",
        problem="was built on table (public.)?user_organizations",
        mended_by="drop it, or change it",
        by_hand="DROP VIEW public.members",
    ),
    Case(
        "nothing_depends_on_what_is_dropped",
        "another key of a partition",
        near_miss="ALTER TABLE public.sellout_entries2_2025"
        " RENAME CONSTRAINT sellout_entries2_2025_client_id_fkey TO its",
        # the one that is ours comes last, in the catalog and by its name; of the other partitions in the catalog only
        violation="ALTER TABLE public.sellout_entries2 ADD CONSTRAINT owner FOREIGN KEY (client_id)"
        " REFERENCES public.organizations (id);"
        "ALTER TABLE public.sellout_entries2_2025 ADD CONSTRAINT another FOREIGN KEY (client_id)"
        " REFERENCES public.organizations (id);"
        "ALTER TABLE public.sellout_entries2_2025 RENAME CONSTRAINT its TO ours",
        object="constraint (another|owner) on table .*",
        problem="was built on",
        mended_by="drop it, or change it",
        by_hand="ALTER TABLE public.sellout_entries2_2025 DROP CONSTRAINT another;"
        "ALTER TABLE public.sellout_entries2 DROP CONSTRAINT owner",
        variant="founding-partitioned",
    ),
    Case(
        "nothing_of_phase_1_is_left_elsewhere",
        "partition that was detached and moved away",
        near_miss="CREATE SCHEMA archive; GRANT USAGE, CREATE ON SCHEMA archive TO app_owner;"
        # a client_id at the place of ours, and what is ours elsewhere
        f"CREATE TABLE public.history (LIKE public.uploads, owner uuid DEFAULT '{DEFAULT_ORGANIZATION}');"
        "CREATE POLICY own ON public.history USING (client_id = owner);"
        "CREATE TABLE public.bills (client_id uuid DEFAULT '11111111-1111-4111-8111-111111111111');"
        "CREATE VIEW public.nobody AS SELECT NULL::uuid AS client_id;"
        f"ALTER VIEW public.nobody ALTER client_id SET DEFAULT '{DEFAULT_ORGANIZATION}'",
        violation="ALTER TABLE public.sellout_entries2 DETACH PARTITION public.sellout_entries2_2025;"
        "ALTER TABLE public.sellout_entries2_2025 SET SCHEMA archive",
        object="archive.sellout_entries2_2025",
        problem="is neither a tenant table nor a partition of one any more",
        mended_by="ALTER TABLE archive.sellout_entries2_2025 DROP COLUMN client_id",
        variant="founding-partitioned",
    ),
    Case(
        "nothing_of_phase_1_is_left_elsewhere",
        "partition whose default a later phase has dropped",
        violation="ALTER TABLE public.sellout_entries2 ALTER client_id DROP DEFAULT;"
        "ALTER TABLE public.sellout_entries2 DETACH PARTITION public.sellout_entries2_2025",
        object="public.sellout_entries2_2025",
        problem="is neither a tenant table nor a partition of one any more",
        mended_by="ALTER TABLE public.sellout_entries2_2025 DROP COLUMN client_id",
        variant="founding-partitioned",
    ),
    Case(
        "nothing_of_phase_1_is_left_elsewhere",
        "table of another name",
        near_miss=migrated_after(
            "SET search_path = public, extensions;"
            + ADOPTED
            + f"CREATE TABLE public.bills (client_id uuid DEFAULT '{OURS}')"
        ),
        violation="ALTER TABLE public.email_logs RENAME TO mails; CREATE POLICY own ON public.mails USING (TRUE)",
        object="public.mails",
        problem="is neither a tenant table nor a partition of one any more",
        mended_by="(?<=what belongs to Phase 1: )(DROP POLICY phase_1_client_pinned[_a-z]* ON public.mails; ){3}"
        "ALTER TABLE public.mails DROP COLUMN client_id",
        variant="deployed",
    ),
    Case(
        "nothing_refers_to_the_default_organization",
        "cascade, of another schema",
        near_miss=migrated_after(
            ORGANIZATIONS,
            "CREATE SCHEMA billing; GRANT USAGE ON SCHEMA billing TO app_owner;"
            'CREATE TABLE billing."Invoices" (org uuid REFERENCES public.organizations (id) ON DELETE CASCADE);'
            'GRANT SELECT ON billing."Invoices" TO app_owner;'
            'INSERT INTO billing."Invoices" SELECT id FROM public.organizations; INSERT INTO billing."Invoices"'
            " VALUES (NULL)",
            OWN_CLIENT_ID,
            since=PARENTS,
        ),
        violation=f"UPDATE public.organizations SET parent_id = '{DEFAULT_ORGANIZATION}' WHERE slug = 'default-org';"
        'INSERT INTO billing."Invoices" SELECT id FROM public.organizations, generate_series(1, 2)',
        object='constraint Invoices_org_fkey on billing."Invoices"',
        problem="2 rows refer to the default organization, which the rollback deletes: "
        r"FOREIGN KEY \(org\) REFERENCES public.organizations\(id\) ON DELETE CASCADE",
        mended_by=r'SELECT \* FROM billing."Invoices" WHERE \(org\) = \(SELECT id FROM public.organizations'
        f" WHERE id = '{DEFAULT_ORGANIZATION}'\\)",
        by_hand=f"DELETE FROM billing.\"Invoices\" WHERE org = '{DEFAULT_ORGANIZATION}'",
    ),
    Case(
        "nothing_refers_to_the_default_organization",
        "by two columns of a partitioned table",
        near_miss=migrated_after(
            ORGANIZATIONS,
            "ALTER TABLE public.organizations ADD UNIQUE (slug, id);"
            "CREATE TABLE public.bills (slug text, org uuid,"
            " FOREIGN KEY (slug, org) REFERENCES public.organizations (slug, id) ON DELETE SET NULL)"
            " PARTITION BY LIST (slug); CREATE TABLE public.bills_of_all PARTITION OF public.bills DEFAULT;"
            "GRANT SELECT ON public.bills TO app_owner;"
            "INSERT INTO public.bills SELECT slug, id FROM public.organizations;"
            f"INSERT INTO public.bills VALUES (NULL, '{DEFAULT_ORGANIZATION}')",
        ),
        violation="INSERT INTO public.bills SELECT slug, id FROM public.organizations",
        object="constraint bills_slug_org_fkey on public.bills",
        problem=r"1 rows refer .* FOREIGN KEY \(slug, org\) .* ON DELETE SET NULL",
        mended_by="delete them, and run the rollback again",
        by_hand="DELETE FROM public.bills WHERE slug = 'default-org'",
    ),
    Case(
        "nothing_refers_to_the_default_organization",
        "another organization",
        near_miss=migrated_after(ORGANIZATIONS, since=PARENTS),
        violation=f"UPDATE public.organizations SET parent_id = '{DEFAULT_ORGANIZATION}' WHERE slug = 'acme'",
        object="constraint organizations_parent_id_fkey on public.organizations",
        problem="1 rows refer to the default organization",
        mended_by="give them to another organization",
        by_hand="UPDATE public.organizations SET parent_id = NULL",
    ),
    Case(
        "kept_client_id_can_be_emptied",
        "required before",
        near_miss=migrated_after(
            ORGANIZATIONS,
            REQUIRED_CLIENT_ID + "ALTER TABLE public.uploads ADD COLUMN client_id uuid",
        ),
        violation="INSERT INTO public.email_logs (recipient) VALUES ('new@example.com')",
        object="public.email_logs.client_id",
        problem="1 rows belong to an organization that the rollback deletes, and the column, which was NOT NULL before",
        mended_by="ALTER TABLE public.email_logs ALTER COLUMN client_id DROP NOT NULL",
    ),
    Case(
        "kept_client_id_can_be_emptied",
        "required before, without organizations",
        near_miss=migrated_after(
            "TRUNCATE public.email_logs; ALTER TABLE public.email_logs ADD COLUMN client_id uuid NOT NULL;"
            "ALTER TABLE public.uploads ADD COLUMN client_id uuid",
        ),
        violation="INSERT INTO public.organizations (id, name, slug)"
        " VALUES ('11111111-1111-4111-8111-111111111111', 'Acme', 'acme');"
        "INSERT INTO public.email_logs (recipient, client_id)"
        " VALUES ('new@example.com', DEFAULT), ('old@example.com', '11111111-1111-4111-8111-111111111111')",
        object="public.email_logs.client_id",
        problem="2 rows belong to an organization that the rollback deletes",
        mended_by="ALTER TABLE public.email_logs ALTER COLUMN client_id DROP NOT NULL",
    ),
    Case(
        "log_is_only_ours",
        "another phase",
        near_miss=entry("by hand"),
        near_miss_options=("--purge-log",),
        violation="INSERT INTO public.migration_log (phase, operation, status)"
        " VALUES ('phase_3', 'migrate', 'completed'), ('phase_2', 'migrate', 'completed'), ('phase_2', 'x', 'failed')",
        options=("--purge-log",),
        object="public.migration_log",
        problem="^has 3 entries of phase_2, phase_3$",
        mended_by="leave --purge-log out",
        by_hand="DELETE FROM public.migration_log WHERE phase <> 'phase_1'",
    ),
    Case(
        "log_is_only_ours",
        "there before",
        near_miss=taken_back,
        near_miss_options=("--purge-log",),
        violation=migrated_after(LOG + entry("create_migration_log", "phase_0")),
        options=("--purge-log",),
        object="public.migration_log",
        problem="^was there before Phase 1, and has 1 entries of phase_0$",
        mended_by="leave --purge-log out",
        by_hand="DROP TABLE IF EXISTS public.no_such_table",
        options_by_hand=("--json",),
    ),
    Case(
        "log_says_what_was_done",
        "lost",
        near_miss=entry("migrate", "phase_2"),
        violation="ALTER TABLE public.migration_log RENAME TO lost",
        object="public.migration_log",
        problem="but (public\\.)?get_user.* is there, (public\\.)?user_organizations is there, (public\\.)?validate",
        mended_by="restore the log from a backup",
        by_hand="ALTER TABLE public.lost RENAME TO migration_log",
    ),
)

#: Checks whose violation needs more than a change of one database; each has a test of its own below.
APART = {
    ("preflight", "service_role_bypasses_row_security"),
    ("preflight", "transactions_are_short"),
    ("rollback", "transactions_are_short"),
    ("preflight", "transactions_can_be_seen"),
    ("rollback", "transactions_can_be_seen"),
}


Old = tuple[Database, psycopg.Connection[tuple[Any, ...]]]


@pytest.fixture(scope="module", autouse=True)
def old(templates: Templates) -> Iterator[Old]:
    """A migrated database with a transaction that was begun with the first test of this module."""
    database = templates.clone("founding-migrated")
    connection = database.connect(OWNER, autocommit=False, application_name="nightly report")
    connection.execute("SELECT count(*) FROM public.uploads")
    # One as old of the same role in another database is nothing to it.
    with closing(templates.server.connect(templates.server.database, OWNER, autocommit=False)) as elsewhere:
        elsewhere.execute("SELECT 1")
        yield database, connection
    database.drop()


@pytest.mark.claim("preflight-refuses", "preflight-warns")
def test_checks_have_each_a_case() -> None:
    """Every check that is asked before anything is touched is tested in its failing form.

    A check that cannot fail, for a slip in its query, would let pass what it was written for.
    """
    tested = {(stage, case.check) for case in CASES for stage in ("preflight", "rollback")} | APART
    asked = {(stage, name) for stage in ("preflight", "rollback") for name in names(stage)}
    assert not asked - tested
    assert {name for _, name in tested} == {name for _, name in asked}


@pytest.mark.claim("preflight-refuses", "preflight-warns")
@pytest.mark.parametrize("action", ["migration", "second migration", "rollback", "second rollback"])
def test_preflight_finds_nothing_in_a_clean_database(action: str, variant: str, templates: Templates) -> None:
    """Where nothing speaks against a run, nothing is found: no error, no warning.

    A false alarm stops a migration in its window, and teaches people to read past the warnings.
    """
    rollback = ["--rollback"] if action.endswith("rollback") else []
    kind = variant if action == "migration" else f"{variant}-migrated"
    with workbench(templates, kind) as bench:
        if action == "second rollback":
            assert run("--dsn", bench.database.owner_dsn, "--rollback", "--force").status == DONE
        result = run("--dsn", bench.database.owner_dsn, *rollback, "--dry-run", "--json")
        assert (result.status, result.findings) == (DONE, [])


@pytest.mark.parametrize(("case", "stage"), list(params(CASES, "preflight", "rollback")))
def test_check_finds_its_violation_and_not_the_near_miss(case: Case, stage: str, templates: Templates) -> None:
    """The check finds nothing in the near miss, names the violation, and is silent once its advice is taken.

    What it misses fails in the middle of a migration or is lost; advice that does not help costs the window.
    """
    rollback = ["--rollback"] if stage == "rollback" else []
    with workbench(templates, case.variant + ("-migrated" if rollback else "")) as bench:
        bench.do(case.near_miss)
        assert bench.findings(case.check, stage, case.user, case.near_miss_options) == []

        bench.do(case.violation)
        before = bench.state()
        how = "--force" if case.level == ERROR else "--dry-run"
        result = run("--dsn", bench.database.dsn(case.user), *rollback, "--json", how, *case.options)
        found = [Finding(**each) for each in result.of(case.check)]
        assert found, f"{case.check} finds nothing: {case.title}"
        for finding in found:
            assert re.fullmatch(case.object, finding.object), finding
            assert re.search(case.problem, finding.problem), finding
            assert finding.level == case.level
        if case.level == ERROR:
            assert result.status == REFUSED
            assert all(f"{finding.object}: {finding.problem}." in result.err for finding in found)
            assert all(f"What to do: {finding.action}" in result.err for finding in found)
        else:
            assert result.status == DONE
        assert bench.state() == before

        options = bench.mend(case, found)
        assert bench.findings(case.check, stage, case.user_by_hand, options) == []
        if case.level == ERROR:
            again = run(
                "--dsn",
                bench.database.dsn(case.user_by_hand),
                *rollback,
                "--json",
                "--force",
                "--give-up-after",
                "1s",
                *options,
            )
            assert again.status == DONE, again.err


@pytest.mark.claim("preflight-warns")
def test_preflight_warns_of_a_service_role_that_row_security_binds(private_server: Server) -> None:
    """A service_role without BYPASSRLS is named before the migration; one that is a superuser is none.

    The back end would see no organization and no membership, and everybody would be locked out.
    """
    templates = Templates(private_server)
    with workbench(templates, "founding-empty") as bench:
        check = "service_role_bypasses_row_security"
        assert bench.findings(check, "preflight", OWNER) == []
        bench.do("ALTER ROLE service_role NOBYPASSRLS SUPERUSER")
        assert bench.findings(check, "preflight", OWNER) == []
        bench.do("ALTER ROLE service_role NOSUPERUSER")
        result = run("--dsn", bench.database.owner_dsn, "--dry-run", "--json")
        [found] = result.findings
        assert (result.status, found["check"], found["level"]) == (DONE, check, "warning")
        assert found["object"] == "role service_role"
        bench.do(found["action"].removeprefix("as a superuser: "))
        assert bench.findings(check, "preflight", OWNER) == []
    templates.close()


@pytest.mark.claim("preflight-refuses")
@pytest.mark.parametrize("mode", [(), ("--online",)], ids=["transactional", "online"])
def test_preflight_refuses_a_pooler_in_transaction_mode(templates: Templates, mode: tuple[str, ...]) -> None:
    """A pooler that gives every transaction another server session is found and refused; in session mode it serves.

    Behind one the locks and settings of the migration would be those of strangers, and theirs the migration's.
    """
    with workbench(templates, "founding") as bench:
        dsn = bench.database.owner_dsn
        before = bench.state()
        with Pooler(dsn, "transaction") as pooler:
            result = run("--dsn", pooler.dsn, "--json", "--force", *mode)
        assert result.status == REFUSED
        [found] = result.findings
        assert (found["check"], found["level"]) == ("no_transaction_pooler", "error")
        assert "session mode" in found["action"]
        assert bench.state() == before
        ours = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        assert bench.database.query(f"SELECT * FROM pg_locks WHERE locktype = 'advisory' AND {ours}") == []
        with Pooler(dsn, "session") as pooler:
            assert run("--dsn", pooler.dsn, "--force", *mode).status == DONE


@pytest.mark.claim("invalid-index-rebuilt")
@pytest.mark.parametrize("mode", ["transactional", "online"])
def test_invalid_index_of_ours_is_dropped_and_built_again(mode: str, templates: Templates) -> None:
    """What an interrupted build has left under the name of one of our indexes is replaced by a valid index.

    It would cost every write and serve no query, and IF NOT EXISTS would take it for done.
    """
    options = ["--online"] if mode == "online" else []
    name = "idx_uploads_client_user_id"
    with workbench(templates, "founding") as bench:
        bench.do("ALTER TABLE public.uploads ADD COLUMN client_id uuid")
        bench.do(invalid_index(name, "(client_id, user_id)"))
        valid = f"SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.{name}'::regclass"
        assert bench.database.query(valid) == [(False,)]
        [warned] = bench.findings("indexes_of_the_table_are_valid", "preflight", OWNER)
        assert "dropped and built again" in warned.action
        ended = run("--dsn", bench.database.owner_dsn, "--force", *options)
        assert ended.status == DONE, ended.err
        assert bench.database.query(valid) == [(True,)], name

        # The same on a database where Phase 1 is done, after a REINDEX or a DROP that somebody broke off.
        bench.do(f"DROP INDEX public.{name}")
        bench.do(invalid_index(name, "(client_id, user_id)"))
        ended = run("--dsn", bench.database.owner_dsn, "--force", *options)
        assert ended.status == DONE, ended.err
        assert bench.database.query(valid) == [(True,)], name


#: What a table may call its time: the names that are known, and some that need quotes or --column.
NAMED = [(name, ()) for name in ("created_at", "uploaded_at", "logged_at", "sent_at")] + [
    (name, ("--column", f"uploads.created_at={name}")) for name in ("received_at", "When it Came", "timestamp", "end")
]


@pytest.mark.claim("time-columns-resolved")
@pytest.mark.parametrize(("name", "options"), NAMED, ids=[name for name, _ in NAMED])
def test_time_column_is_found_by_its_known_names_or_by_the_option(
    name: str, options: tuple[str, ...], templates: Templates
) -> None:
    """The time column of a table is taken by any name that it is known by, or that is given, and is told.

    An index on another column, or none, leaves the newest uploads of a client to a scan of the table.
    """
    with workbench(templates, "founding") as bench:
        if name != "created_at":
            bench.do(f'ALTER TABLE public.uploads RENAME created_at TO "{name}"')
        dsn = ("--dsn", bench.database.owner_dsn, *options)
        assert run(*dsn, "--dry-run", "--json").json["tables"]["uploads"]["time_column"] == name, "uploads"
        ended = run(*dsn, "--force")
        assert ended.status == DONE, ended.err
        columns = bench.database.query(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'public.idx_uploads_client_created_at'::regclass"
            " ORDER BY attnum"
        )
        assert columns == [("client_id",), (name,)]
        logged = bench.database.query(
            "SELECT details -> 'time_columns' ->> 'uploads' FROM public.migration_log"
            " WHERE operation = 'migrate' AND status = 'completed'"
        )
        assert logged == [(name,)]
        assert run(*dsn, "--verify").status == DONE
        assert "Nothing to do" in run(*dsn, "--force").out
        assert run("--dsn", bench.database.owner_dsn, "--rollback", "--force").status == DONE


@pytest.mark.claim("time-columns-resolved")
def test_time_columns_of_the_known_deployment_are_found(templates: Templates) -> None:
    """The deployment with uploaded_at and logged_at needs no option.

    Its operator would otherwise have to know the answers before the migration starts.
    """
    with workbench(templates, "deployed") as bench:
        tables = run("--dsn", bench.database.owner_dsn, "--dry-run", "--json").json["tables"]
        assert tables["uploads"]["time_column"] == "uploaded_at"
        assert tables["transform_logs"]["time_column"] == "logged_at"
        assert tables["users"]["time_column"] == "created_at"
        assert tables["email_logs"]["time_column"] == "created_at"


@pytest.mark.claim("existing-client-id-kept")
@pytest.mark.parametrize("default", ["ours", "theirs"])
@pytest.mark.parametrize("mode", ["transactional", "online"])
def test_client_id_that_was_there_keeps_its_values_and_gets_them_back(
    mode: str, default: str, templates: Templates, evidence: Evidence
) -> None:
    """Values that are there stay, NULLs go to the default organization, batch by batch; the rollback returns both.

    A value that is overwritten gives one client's rows to another, and no rollback would know.
    """
    options = ["--online"] if mode == "online" else []
    rows = 2 * BATCH + 3000  # nine in ten of them without a client
    with workbench(templates, "founding") as bench:
        database = bench.database
        bench.do(ORGANIZATIONS)
        if default == "theirs":
            bench.do(
                "SET ROLE app_owner; INSERT INTO public.organizations (name, slug) VALUES ('The First', 'default-org')"
            )
        bench.do(
            f"""
            ALTER TABLE public.email_logs ADD COLUMN client_id uuid;
            INSERT INTO public.email_logs (recipient, client_id)
            SELECT n || '@example.com', CASE n % 10 WHEN 0 THEN '11111111-1111-4111-8111-111111111111'::uuid END
            FROM generate_series(1, {rows}) AS n;
            -- what is still to be done for the rows that are filled keeps the table from being altered
            CREATE FUNCTION public.later() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON public.email_logs DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION public.later();
            ANALYZE public.email_logs
            """
        )
        values = "SELECT id, client_id FROM public.email_logs ORDER BY id"
        before: dict[Any, Any] = dict(database.query(values))

        def wrong(expected: dict[Any, Any]) -> int:
            """How many values are not as expected; all of them would be too many to read."""
            return len(dict(database.query(values)).items() ^ expected.items())

        objects = bench.state()[0]
        dsn = ("--dsn", database.owner_dsn, *options)

        def batches(client: str, *operation: str) -> list[int]:
            """How many rows of that client each UPDATE of the table is for."""
            script = run(*dsn, *operation, "--dry-run").out
            ranges = re.findall(r"UPDATE public.email_logs\s[^;]+?\s(id [<>][^;]+);", script)
            counted = f"SELECT count(*) FROM public.email_logs WHERE client_id {client} AND "
            return [database.query(counted + each)[0][0] for each in ranges]

        fills = batches("IS NULL")
        evidence("batches of the fill", fills)
        assert fills == [BATCH, BATCH, sum(value is None for value in before.values()) - 2 * BATCH]
        assert run(*dsn, "--force").status == DONE
        [(organization,)] = database.query("SELECT id FROM public.organizations WHERE slug = 'default-org'")
        assert (str(organization) == DEFAULT_ORGANIZATION) == (default == "ours")
        filled = {key: value or organization for key, value in before.items()}
        assert wrong(filled) == 0, "values of email_logs.client_id after the migration"
        assert database.query("SELECT conrelid::regclass FROM pg_constraint WHERE conname ~ '^phase_1_'") == []

        empties = batches(f"= '{organization}'", "--rollback")
        assert (max(empties), sum(empties)) == (BATCH, sum(fills))
        assert run(*dsn, "--rollback", "--force").status == DONE
        assert wrong(before) == 0, "values of email_logs.client_id after the rollback"
        left = {name: each for name, each in bench.state()[0].items() if "migration_log" not in name}
        assert left == objects


@pytest.mark.claim("existing-client-id-kept")
def test_client_id_without_a_null_is_not_written(templates: Templates) -> None:
    """A client_id that is complete already is tied to organizations, and not one of its rows is written.

    Writing them all doubles the table and fires the triggers of the application, for nothing.
    """
    with workbench(templates, "founding") as bench:
        bench.do(ORGANIZATIONS)
        bench.do(REQUIRED_CLIENT_ID)
        before = bench.database.rows_with_xmin(["email_logs"])
        assert run("--dsn", bench.database.owner_dsn, "--force").status == DONE
        assert bench.database.rows_with_xmin(["email_logs"]) == before
        assert run("--dsn", bench.database.owner_dsn, "--rollback", "--force").status == DONE
        assert bench.database.query(
            "SELECT attnotnull, atthasdef FROM pg_attribute"
            " WHERE attrelid = 'public.email_logs'::regclass AND attname = 'client_id'"
        ) == [(True, False)]


@pytest.mark.claim("existing-client-id-kept", "writes-pinned")
@pytest.mark.parametrize("how", ["a restrictive policy", "every permissive policy"])
def test_clients_that_the_application_keeps_apart_write_as_before(how: str, templates: Templates) -> None:
    """Where policies of the application keep the web API to a client, they go on doing it, and Phase 1 pins nobody.

    Its clients' updates would touch no row from that day on, without an error.
    """
    with workbench(templates, "deployed") as bench:
        bench.do(KEPT_APART)
        if how != "a restrictive policy":
            bench.do(
                "DROP POLICY of_client ON public.products; ALTER POLICY products_write ON public.products"
                " USING (client_id = current_setting('app.client')::uuid) WITH CHECK"
                " (client_id = current_setting('app.client')::uuid)"
            )
        acme = "11111111-1111-4111-8111-111111111111"

        def written() -> tuple[int, ...]:
            with bench.database.connect() as session, session.transaction(force_rollback=True):
                session.execute(f"SET LOCAL ROLE authenticated; SET LOCAL app.client = '{acme}'".encode())
                return tuple(
                    session.execute(statement.encode()).rowcount
                    for statement in (
                        f"INSERT INTO public.products (ean, name, client_id) VALUES ('new', 'Lamp', '{acme}')",
                        "UPDATE public.products SET name = 'edited'",
                        "DELETE FROM public.products WHERE ean = 'new'",
                    )
                )

        before = written()
        assert all(before)
        dsn = ("--dsn", bench.database.owner_dsn)
        assert run(*dsn, "--force").status == DONE
        assert written() == before
        assert run(*dsn, "--verify").status == DONE
        assert "Nothing to do" in run(*dsn, "--force").out
        assert bench.database.query(
            "SELECT polrelid::regclass::text, count(*) FROM pg_policy WHERE polname LIKE 'phase_1_client_pinned%'"
            " AND polrelid IN ('public.products'::regclass, 'public.uploads'::regclass) GROUP BY 1"
        ) == [("uploads", 3)]
        assert run(*dsn, "--rollback", "--force").status == DONE


@pytest.mark.claim("cost-is-foreseen")
def test_estimate_recommends_online_above_three_seconds_of_locks(templates: Templates, evidence: Evidence) -> None:
    """The estimate follows the rows, and from 3 s of held locks on the transactional mode recommends --online.

    Whoever is not told stops every read of the application for as long as the indexes take.
    """
    with workbench(templates, "founding") as bench:
        dsn = ("--dsn", bench.database.owner_dsn, "--dry-run")
        small = run(*dsn)
        assert "use --online" not in small.err
        assert "It will hold its locks for about 0.0 s" in small.err
        # What ANALYZE would write for a large table; no test needs to load one.
        bench.do("UPDATE pg_class SET reltuples = 4e6 WHERE oid = 'public.sellout_entries2'::regclass")
        cost = run(*dsn, "--json").json["cost"]
        evidence("cost foreseen for 4 million sales", cost)
        assert 10 < cost["seconds"] < 15, cost
        assert "use --online" in run(*dsn).err
        assert "use --online" not in run(*dsn, "--online").err


@pytest.mark.claim("cost-is-foreseen")
def test_estimate_of_a_table_that_nobody_has_analysed_is_a_guess_from_its_size(
    templates: Templates, evidence: Evidence
) -> None:
    """Rows that the planner does not know yet are guessed from the size, which is said; ANALYZE makes them known.

    A restored dump of a hundred million rows would be announced as 0 rows, 0 seconds and 0 bytes.
    """
    with workbench(templates, "founding") as bench:
        bench.do(
            # TRUNCATE makes PostgreSQL forget what it knew.
            "ALTER TABLE public.email_logs SET (autovacuum_enabled = off); TRUNCATE public.email_logs;"
            "INSERT INTO public.email_logs (recipient) SELECT n || '@example.com' FROM generate_series(1, 30000) AS n"
        )
        dsn = ("--dsn", bench.database.owner_dsn, "--dry-run")
        guessed = run(*dsn, "--json").json
        rows = guessed["tables"]["email_logs"]["rows"]
        evidence("rows of a table that was never analysed", {"guessed": rows, "there": 30000})
        assert guessed["cost"]["guessed"] == ["email_logs"]
        assert 15000 < rows < 60000
        assert "after an ANALYZE" in run(*dsn).err
        bench.do("ANALYZE public.email_logs")
        known = run(*dsn, "--json").json
        assert (known["tables"]["email_logs"]["rows"], known["cost"]["guessed"]) == (30000, [])
        assert known["cost"]["index_bytes"] > 30000
        # Empty and known to be so, with pages that are kept for later.
        bench.do("DELETE FROM public.email_logs; ANALYZE public.email_logs")
        empty = run(*dsn, "--json").json
        assert (empty["tables"]["email_logs"]["rows"], empty["cost"]["guessed"]) == (0, [])


@pytest.mark.claim("cost-is-foreseen")
def test_estimate_of_the_disk_is_right_within_a_factor_of_two(templates: Templates, evidence: Evidence) -> None:
    """The disk that the new indexes are said to take is what they take, give or take a factor of two.

    A disk that fills up in the middle of a migration stops the whole server.
    """
    with workbench(templates, "founding") as bench:
        bench.do(
            "INSERT INTO public.products (ean, name) SELECT 4000000000000 + n, 'a product'"
            " FROM generate_series(1, 30000) AS n; ANALYZE public.products"
        )
        dsn = ("--dsn", bench.database.owner_dsn)
        foreseen = run(*dsn, "--dry-run", "--json").json["cost"]["index_bytes"]
        assert run(*dsn, "--force").status == DONE
        [(taken,)] = bench.database.query("SELECT pg_relation_size('public.idx_products_client_ean')")
        evidence("bytes of the indexes", {"foreseen": foreseen, "taken": taken})
        assert taken / 2 < foreseen < taken * 2, "idx_products_client_ean"


@pytest.mark.claim("no-superuser-needed")
@pytest.mark.parametrize("mode", ["transactional", "online"])
def test_owner_of_the_tables_migrates_and_goes_back_without_any_other_right(
    mode: str, variant: str, templates: Templates
) -> None:
    """A role that owns the tables and may create in public does it all; so does a member of that role.

    On a hosted database nobody is a superuser: a migration that needs one cannot be run there.
    """
    options = ["--online"] if mode == "online" else []
    with workbench(templates, variant) as bench:
        bench.do("CREATE TABLE public.marker (); ALTER TABLE public.marker OWNER TO {role}; DROP TABLE public.marker")
        bench.do("GRANT app_owner TO {role}; ALTER ROLE {role} LOGIN")
        bench.database.execute(f"ALTER ROLE \"{bench.role}\" PASSWORD '{bench.role}'")
        for role in (OWNER, bench.role):
            rights = bench.database.query(
                "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles"
                " WHERE rolname = %s",
                role,
            )
            assert rights == [(False,)]
            dsn = ("--dsn", bench.database.dsn(role), "--force", *options)
            for arguments in ((), ("--rollback", "--purge-log")):
                ended = run(*dsn, *arguments)
                assert ended.status == DONE, ended.err


@pytest.mark.claim("preflight-refuses", "no-superuser-needed")
@pytest.mark.parametrize("action", [[], ["--rollback"]], ids=["migration", "rollback"])
def test_role_that_owns_nothing_is_refused(action: list[str], templates: Templates) -> None:
    """A role that may only read is told whose tables they are, and nothing is touched.

    It would fail in the middle, at the first statement that only an owner may run.
    """
    with workbench(templates, "founding-migrated" if action else "founding") as bench:
        bench.do("GRANT SELECT ON ALL TABLES IN SCHEMA public TO staging_reader")
        before = bench.state()
        result = run("--dsn", bench.database.dsn("staging_reader"), "--force", *action)
        assert result.status == REFUSED
        assert "connect as app_owner" in result.err
        assert bench.state() == before


@pytest.mark.claim("preflight-refuses")
@pytest.mark.parametrize("table", ["migration_log", "organizations"])
def test_migration_run_by_a_superuser_is_not_taken_up_by_the_owner(table: str, templates: Templates) -> None:
    """Where another role has migrated, whoever cannot read what it left is told who that was.

    Without the log everything looks as if nobody had migrated, and the second run would break the first.
    """
    with workbench(templates, "founding-migrated") as bench:
        bench.do(f"ALTER TABLE public.{table} OWNER TO {{superuser}}")
        before = bench.state()
        for action in ([], ["--rollback"], ["--verify"], ["--status"]):
            result = run("--dsn", bench.database.owner_dsn, *action)
            assert result.status == REFUSED
            assert f"does not see every row of public.{table}" in result.err
            assert f"connect as {bench.database.server.user}" in result.err
        assert bench.state() == before


@pytest.mark.claim("preflight-warns")
def test_transaction_that_is_old_is_named(old: Old) -> None:
    """A transaction of more than five seconds is named with its process, state and query; a young one is not.

    The migration would wait for it, give way, and try again until it gives up.
    """
    database, connection = old
    young = database.connect(OWNER, autocommit=False, application_name="young")
    while not connection.execute("SELECT clock_timestamp() - now() > INTERVAL '5 s'").fetchall()[0][0]:
        young.execute("SELECT pg_sleep(0.05)")  # what is awaited here is time itself
        young.rollback()
    young.execute("SELECT 1")
    process = connection.info.backend_pid
    for action, state in [([], "idle in transaction"), (["--rollback"], "idle in transaction"), ([], "active")]:
        if state == "active":
            # Its workers are in the transaction as well, and end with it.
            setting = "debug_parallel_query" if connection.info.server_version >= 160_000 else "force_parallel_mode"
            connection.pgconn.send_query(f"SET {setting} = on; SELECT pg_sleep(600)".encode())
            wait_for(database, "SELECT FROM pg_stat_activity WHERE backend_type = 'parallel worker'")
        result = run("--dsn", database.owner_dsn, "--dry-run", "--json", *action)
        [found] = result.of("transactions_are_short")
        assert (result.status, found["level"]) == (DONE, "warning")
        assert found["object"] == f"process {process} (app_owner, nightly report)"
        assert f"state {state}: " in found["problem"]
        # Of the query what comes before its first literal, which may be a password.
        assert found["problem"].endswith(
            "SELECT pg_sleep(600)" if state == "active" else "SELECT clock_timestamp() - now() > INTERVAL ..."
        )
    database.execute(f"SELECT pg_cancel_backend({process})")
    while connection.pgconn.get_result() is not None:
        pass
    database.execute(found["action"].removeprefix("let it end, or end it: "))
    with pytest.raises(errors.AdminShutdown):
        connection.execute("SELECT 1")
    for action in ([], ["--rollback"]):
        assert run("--dsn", database.owner_dsn, "--dry-run", "--json", *action).findings == []


@pytest.mark.claim("preflight-refuses")
def test_prepared_transaction_is_not_taken_for_another_or_for_who_waits_for_it(templates: Templates) -> None:
    """A prepared transaction of another database is nothing here; what waits for one has locks of its own.

    Somebody would be told to end a transaction that is in nobody's way.
    """
    with workbench(templates, "founding") as bench, workbench(templates, "founding") as elsewhere:
        # In a database that is a copy too, the table has the same OID.
        prepare("public.uploads", "elsewhere")(elsewhere.database)
        bench.do("CREATE TABLE public.news (id int PRIMARY KEY)")
        bench.do(f"BEGIN; INSERT INTO public.news VALUES (1); PREPARE TRANSACTION '{bench.database.name}'")
        waiting = bench.database.connect(autocommit=False)
        waiting.execute("SELECT count(*) FROM public.uploads")
        waiting.pgconn.send_query(b"INSERT INTO public.news VALUES (1)")
        wait_for(bench.database, "SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
        assert bench.findings("prepared_transactions_hold_no_lock", "preflight", OWNER) == []


@pytest.mark.claim("preflight-warns")
def test_publication_of_everything_is_no_news_once_the_new_tables_are_there(templates: Templates) -> None:
    """Where the new tables are there already, a publication of every table is not warned of.

    A warning that comes back on each run is one that nobody reads.
    """
    with workbench(templates, "founding-migrated") as bench:
        bench.do("CREATE PUBLICATION ours FOR ALL TABLES")
        assert bench.findings("publications_of_everything_are_expected", "preflight", OWNER) == []


@pytest.mark.claim("preflight-warns")
@pytest.mark.parametrize("rollback", [[], ["--rollback"]], ids=["migration", "rollback"])
def test_transaction_whose_age_is_hidden_is_named(rollback: list[str], templates: Templates) -> None:
    """Who has a lock on a tenant table and cannot be looked at is named, with the GRANT that helps.

    An hour of a report is no row in what the role sees, and the migration would wait for it in vain.
    """
    check = "transactions_can_be_seen"
    stage = "rollback" if rollback else "preflight"
    kind = "founding" + ("-migrated" if rollback else "")
    with workbench(templates, kind) as bench, workbench(templates, kind) as elsewhere:
        # In a database that is a copy too, the table has the same OID.
        elsewhere.do("GRANT SELECT ON public.uploads TO authenticator")
        elsewhere.database.connect("authenticator", autocommit=False).execute("SELECT count(*) FROM public.uploads")
        bench.do("GRANT app_owner TO {role}; ALTER ROLE {role} LOGIN; GRANT SELECT ON public.uploads TO authenticator")
        bench.database.execute(f"ALTER ROLE \"{bench.role}\" PASSWORD '{bench.role}'")
        bench.do("CREATE TABLE public.news (); GRANT SELECT ON public.news TO authenticator")
        other = bench.database.connect("authenticator", autocommit=False, application_name="nightly report")
        own = bench.database.connect(OWNER, autocommit=False)
        own.execute("SELECT count(*) FROM public.uploads")
        other.execute("SELECT count(*) FROM public.news")
        assert bench.findings(check, stage, bench.role) == []
        other.execute("SELECT count(*) FROM public.uploads")
        # A superuser sees all of it.
        assert bench.findings(check, stage, None) == []
        result = run("--dsn", bench.database.dsn(bench.role), "--dry-run", "--json", *rollback)
        [found] = result.of(check)
        assert (result.status, found["level"]) == (DONE, "warning")
        assert found["object"] == f"process {other.info.backend_pid} (authenticator, nightly report)"
        assert found["problem"].startswith("has a lock on public.uploads, or waits for one; ")
        bench.database.execute(found["action"].partition("as a superuser: ")[2])
        assert bench.findings(check, stage, bench.role) == []


@pytest.mark.claim("existing-client-id-kept", "online-resumes")
@pytest.mark.parametrize("then", ["rollback", "resumed, then rollback"])
def test_fill_that_stops_between_two_batches_is_completed_or_taken_back(then: str, templates: Templates) -> None:
    """An online run that stops after some batches knows of them: a rollback empties them, a second run fills the rest.

    Rows would be left with the id of an organization that is gone, while the runner says that all is as it was.
    """
    with workbench(templates, "founding") as bench:
        bench.do(ORGANIZATIONS)
        bench.do(
            f"""
            ALTER TABLE public.email_logs ADD COLUMN client_id uuid;
            ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_pkey, DROP COLUMN id,
                ADD COLUMN id bigserial PRIMARY KEY;
            INSERT INTO public.email_logs (recipient, client_id)
            SELECT n || '@example.com', CASE n % 10 WHEN 0 THEN '11111111-1111-4111-8111-111111111111'::uuid END
            FROM generate_series(1, {2 * BATCH + 3000}) AS n;
            CREATE FUNCTION public.stop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE SQLSTATE ''57014''; END';
            CREATE TRIGGER stop BEFORE UPDATE ON public.email_logs FOR EACH ROW
                WHEN (OLD.recipient = '{BATCH + 2001}@example.com') EXECUTE FUNCTION public.stop();
            ANALYZE public.email_logs
            """
        )
        values = "SELECT client_id, count(*) FROM public.email_logs GROUP BY 1 ORDER BY 1"
        before = bench.database.query(values)
        dsn = ("--dsn", bench.database.owner_dsn, "--online", "--force")
        assert run(*dsn).status == STOPPED
        counts: dict[UUID | None, int] = dict(bench.database.query(values))
        assert counts[UUID(DEFAULT_ORGANIZATION)] == BATCH
        bench.do("DROP TRIGGER stop ON public.email_logs")
        if then != "rollback":
            assert run(*dsn).status == DONE
            assert None not in dict(bench.database.query(values))
        assert run(*dsn, "--rollback").status == DONE
        assert bench.database.query(values) == before
