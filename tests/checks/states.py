"""States of a database that the cases of several checks begin with, and what makes them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from psycopg import errors

from phase_1.problems import DONE
from tests.application import former
from tests.plugins.database import OWNER, Database
from tests.support.runner import run

#: Organizations as Phase 1 would create them, without the default one.
PARTITIONED = (
    f"SET ROLE {OWNER}; DROP TABLE public.email_logs; CREATE TABLE public.email_logs (id uuid, created_at timestamptz)"
    " PARTITION BY RANGE (created_at)"
)

#: A function for triggers.
HISTORY = """
CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
CREATE TRIGGER {name} BEFORE UPDATE ON public.{table} FOR EACH ROW EXECUTE FUNCTION public.{name}();
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


SECOND = (
    "INSERT INTO public.organizations (id, name, slug) VALUES ('11111111-1111-4111-8111-111111111111', 'Acme', 'acme');"
)

#: A role that was written to last is read last.
ANON_LAST = "ALTER ROLE anon NOLOGIN;"
