"""The rows that are there: none is written again, no trigger fires, and the log of the server stays small."""

from __future__ import annotations

from typing import Any

import pytest

from phase_1.inventory import DEFAULT_ORGANIZATION, TABLES
from tests.plugins.certificate import Evidence
from tests.plugins.database import Database
from tests.support.looking import differing
from tests.support.proxy import Proxy, Statement
from tests.support.runner import run
from tests.support.ways import MODES

NAMES = [table.name for table in TABLES]

# Fires for whatever is done to a row or to a whole table, and keeps what it was.
AUDIT = """
    CREATE SCHEMA audit;
    CREATE TABLE audit.entries (operation text, of_table text);
    CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO audit.entries VALUES (TG_OP, TG_TABLE_NAME);
        RETURN NULL;
    END
    $$;
"""
AUDIT_OF_A_TABLE = """
    CREATE TRIGGER audit_rows AFTER INSERT OR UPDATE OR DELETE ON public.{0}
    FOR EACH ROW EXECUTE FUNCTION audit.note();
    CREATE TRIGGER audit_statements AFTER INSERT OR UPDATE OR DELETE ON public.{0}
    FOR EACH STATEMENT EXECUTE FUNCTION audit.note();
    CREATE TRIGGER audit_truncate AFTER TRUNCATE ON public.{0}
    FOR EACH STATEMENT EXECUTE FUNCTION audit.note();
"""


def files(database: Database) -> dict[str, int]:
    """The file of each tenant table: a rewrite makes a new one."""
    rows = database.query(
        "SELECT relname, pg_relation_filenode(oid) FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relname = ANY (%s)",
        NAMES,
    )
    return {str(name): int(file) for name, file in rows}


def of_the_default(database: Database) -> dict[str, tuple[int, int]]:
    """For each tenant table its rows, and those of the default organization."""
    return {
        table: database.query(
            f"SELECT count(*), count(*) FILTER (WHERE client_id = '{DEFAULT_ORGANIZATION}') FROM public.{table}"
        )[0]
        for table in NAMES
    }


@pytest.mark.claim("rows-untouched")
@MODES
def test_rows_stay_where_they_are_and_as_they_are(database: Database, mode: list[str]) -> None:
    """Every row keeps its place, the transaction that wrote it and its values, in the same file; and has a client.

    Otherwise the migration writes the whole database again: hours, twice the disk, and a replica far behind.
    """
    rows, before = database.rows_with_xmin(), files(database)
    assert len(before) == 7
    assert run("--dsn", database.owner_dsn, "--force", *mode).status == 0
    assert differing(database.rows_with_xmin(), rows) == [], "tables with rows that were written again"
    assert files(database) == before
    assert all(count == mine > 0 for count, mine in of_the_default(database).values())
    # The test can fail: a row that is written again with the same content is seen.
    database.execute("UPDATE public.products SET client_id = client_id")
    assert database.rows_with_xmin() != rows


@pytest.mark.claim("rows-untouched")
def test_rows_of_a_large_table_stay_while_the_log_of_the_server_stays_small(
    large: Database, evidence: Evidence
) -> None:
    """A hundred thousand rows get their client by a change of the catalog, which hardly shows in the WAL.

    Otherwise the migration fills the disk of the server and keeps its replicas and backups busy.
    """
    rows, before = large.rows_with_xmin(), files(large)
    size = large.query("SELECT sum(pg_table_size(name::regclass))::bigint FROM unnest(%s::text[]) AS name", NAMES)[0][0]
    marks: dict[str, list[Any]] = {}
    watcher = large.connect()

    def look(statement: Statement) -> None:
        if "ADD COLUMN client_id" in statement.sql:
            position = watcher.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            marks.setdefault(statement.sql, []).append(position[0] if position else None)

    with Proxy(large.server) as proxy:
        proxy.before(look)
        proxy.after(look)
        assert run("--dsn", proxy.dsn(large.name, "app_owner"), "--force").status == 0
    assert differing(large.rows_with_xmin(), rows) == [], "tables with rows that were written again"
    assert files(large) == before
    assert all(count == mine > 0 for count, mine in of_the_default(large).values())
    assert len(marks) == len(NAMES)
    written = sum(
        large.query("SELECT pg_wal_lsn_diff(%s, %s)::bigint", end, start)[0][0] for start, end in marks.values()
    )
    evidence("bytes of WAL for the seven columns, and of the tables", [written, size])
    # A first change of a page after a checkpoint puts all of it into the WAL: that much, and no row.
    assert written < size / 10


@pytest.mark.claim("rows-untouched")
@MODES
def test_no_trigger_of_the_application_fires(database: Database, mode: list[str]) -> None:
    """Neither an audit trigger nor the application's own fires for a row that is there, there or back.

    Otherwise the migration sends a million notifications, or overwrites when each row was last changed.
    """
    database.execute(AUDIT + "".join(AUDIT_OF_A_TABLE.format(table) for table in NAMES))
    traces = "SELECT sum(revision), max(updated_at) FROM public.sellout_entries2"
    before = database.query(traces) if database.variant == "deployed" else []
    assert run("--dsn", database.owner_dsn, "--force", *mode).status == 0
    assert database.query("SELECT * FROM audit.entries") == [], "triggers that fired"
    assert run("--dsn", database.owner_dsn, "--force", "--rollback", *mode).status == 0
    assert database.query("SELECT * FROM audit.entries") == [], "triggers that fired"
    if database.variant == "deployed":
        assert database.query(traces) == before
    # The test can fail: the triggers are awake.
    for table in NAMES:
        database.execute(f"DELETE FROM public.{table} WHERE FALSE")
    assert len(database.query("SELECT * FROM audit.entries")) == len(NAMES)
