"""How tests look at a database: its catalog but for the log, and what they wait for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from phase_1.fingerprint import Fingerprint, fingerprint
from tests.plugins.database import Database, Row

LOG = "public.migration_log"

#: How long a wait may take, in seconds: far longer than it ever does.
PATIENCE = 20.0


def catalog(database: Database) -> Fingerprint:
    """The fingerprint without the log, which differs on purpose: it keeps what happened."""
    with database.connect(application_name="suite") as connection:
        return fingerprint(connection, exclude=[LOG])


def differing(rows: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The tables whose rows are not the same; the rows themselves would be too many to read."""
    return sorted(table for table in rows.keys() | others.keys() if rows.get(table) != others.get(table))


def wait_for(database: Database, query: str, *parameters: Any, patience: float = PATIENCE) -> Row:
    """The first row of a query, as soon as there is one."""
    deadline = time.monotonic() + patience
    with database.connect(application_name="suite") as connection:
        while True:
            row = connection.execute(query.encode(), parameters or None).fetchone()
            if row is not None:
                return row
            assert time.monotonic() < deadline, f"in vain: {query}"


def wait_for_who_waits(database: Database, for_whom: int, statement: str = "%", *, patience: float = PATIENCE) -> int:
    """The process that waits for another one, in a statement that is LIKE this, as soon as there is one."""
    waits = "SELECT pid FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)) AND query LIKE %s"
    (pid,) = wait_for(database, waits, for_whom, statement, patience=patience)
    return int(pid)


def wait_for_the_end_of_runs(database: Database) -> None:
    """Returns as soon as no server process of the runner is left: one that has lost its client goes on for a while."""
    runs = "SELECT FROM pg_stat_activity WHERE application_name = 'phase_1' AND datname = current_database()"
    wait_for(database, f"SELECT 1 WHERE NOT EXISTS ({runs})")
