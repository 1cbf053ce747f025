"""The locks of the online mode, step by step: what its headers say, and never while a table is read."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from migrate import _look as look
from phase_1.apply import Sessions
from phase_1.options import parse
from phase_1.plan import BEGIN, Plan, Transaction
from phase_1.scripts import identifier
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.support.locks import MODES, NAMES, WITH_PARTITIONS, held

Connection = psycopg.Connection[tuple[Any, ...]]
Locks = dict[str, str]

#: A reference looks up its row with this one, which stops nobody who does not drop the table.
_HARMLESS = MODES.index("ROW SHARE")
_LETS_WRITE = MODES.index("SHARE UPDATE EXCLUSIVE")
#: How long a session may take to get as far as to wait, in seconds: far longer than it ever does.
_PATIENCE = 20.0

#: A client_id that was there before takes other steps than a new one.
_OWN_CLIENT_ID = "ALTER TABLE public.{0} ADD COLUMN client_id uuid"


@pytest.fixture(
    params=[
        "migration",
        "migration of columns that were there",
        "rollback",
        "migration of a partitioned table",
        "rollback of a partitioned table",
    ]
)
def planned(request: pytest.FixtureRequest, templates: Templates) -> Iterator[tuple[Database, Plan]]:
    """A database, and the plan of an online run in it."""
    rollback = request.param.startswith("rollback")
    kind = "founding-partitioned" if "partitioned" in request.param else "deployed"
    database = templates.clone(f"{kind}-migrated" if rollback else kind)
    if request.param.endswith("there"):
        for name in ("products", "sellout_entries2"):
            database.execute(f"SET ROLE {OWNER}; {_OWN_CLIENT_ID.format(name)}")
    sessions = Sessions(database.owner_dsn)
    plan = look(sessions, parse(["--online", "--force", *(["--rollback"] if rollback else [])]))[2]
    sessions.close()
    yield database, plan
    database.drop()


@pytest.mark.claim("locks-are-as-stated", "online-locks-nobody-out")
def test_online_step_takes_the_locks_of_its_header_and_reads_no_table_that_it_keeps_for_itself(
    planned: tuple[Database, Plan], evidence: Evidence
) -> None:
    """Each step's locks are those that its header names, and no table is read under one that nobody can write beside.

    A lock that nobody has told of stops the application for as long as the table is read: seconds a million rows.
    """
    database, plan = planned
    shown = []
    with database.connect(OWNER) as session, database.connect() as looking:
        for transaction in plan.transactions:
            before = _wal(looking)
            began = time.monotonic()
            locks, read = _run(database, session, looking, transaction)
            seconds = time.monotonic() - began
            # What CONCURRENTLY has done is noted in a transaction of its own.
            done = {each.step for each in transaction.statements if not each.noted}
            for step in (step for step in transaction.steps if step.label in done):
                stated = _stated(step.section.header("lock"), step.table)
                assert _beyond(locks, _HARMLESS) == _beyond(stated, _HARMLESS), step.label
                shown.append({
                    "step": step.label, "locks": locks, "ms": round(1000 * seconds, 1), "WAL": _wal(looking) - before,
                })  # fmt: skip
            for name in _beyond(locks, _LETS_WRITE):
                assert read.get(name, 0) == 0, ([step.label for step in transaction.steps], name)
    assert len(shown) >= len({step.label for step in plan.steps}) > 30
    evidence("the steps, their locks, and what they cost", shown)


@pytest.mark.claim("online-locks-nobody-out")
def test_rows_that_are_read_under_a_lock_are_counted(templates: Templates) -> None:
    """The measure can fail: a check that is validated at once, and an index, are seen to read the table."""
    database = templates.clone("founding")
    with database.connect(OWNER) as session:
        for statement, reads in (
            ("ALTER TABLE public.email_logs ADD CHECK (recipient <> '')", True),
            ("UPDATE public.email_logs SET subject = ''", True),
            ("ALTER TABLE public.email_logs ADD client_id uuid NOT NULL DEFAULT gen_random_uuid()", True),
            ("ALTER TABLE public.email_logs ADD client_id uuid NOT NULL DEFAULT md5('')::uuid", False),
        ):
            with session.transaction(force_rollback=True):
                before = _read(session).get("email_logs", 0)
                session.execute(statement.encode())
                assert (_read(session).get("email_logs", 0) > before) is reads, statement
    database.drop()


def _run(
    database: Database, session: Connection, looking: Connection, transaction: Transaction
) -> tuple[Locks, dict[str, int]]:
    """Runs it: the locks that it holds at its end, and for each table the rows that it has read."""
    locks: Locks = {}
    read: dict[str, int] = {}
    before: dict[str, int] = {}
    for statement in transaction.statements:
        if statement.sql == "COMMIT;":
            # As another session sees them: by name, what is new is not there yet, and what is dropped still is.
            locks = held(looking, session.info.backend_pid)
            read = {name: count - before.get(name, 0) for name, count in _read(session).items()}
        if transaction.concurrent and "CONCURRENTLY" in statement.sql:
            table = str(transaction.steps[0].values["table"])
            with _older(database, table) as release:
                worker = threading.Thread(target=session.execute, args=[statement.sql.encode()])
                worker.start()
                _wait_until_waiting(looking, session.info.backend_pid)
                locks = held(looking, session.info.backend_pid)
                release()
                worker.join(_PATIENCE)
        else:
            session.execute(statement.sql.encode())
        if statement.sql == BEGIN:
            before = _read(session)
    return locks, read


@contextmanager
def _older(database: Database, table: str) -> Iterator[Any]:
    """A transaction that has read the table and has not ended: CONCURRENTLY waits for it."""
    with database.connect(autocommit=False) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"SELECT FROM public.{identifier(table)} LIMIT 1".encode())
        yield connection.rollback


def _wait_until_waiting(looking: Connection, pid: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not looking.execute("SELECT FROM pg_locks WHERE pid = %s AND NOT granted", [pid]).fetchall():
        assert time.monotonic() < deadline, "CONCURRENTLY does not wait"


def _read(connection: Connection) -> dict[str, int]:
    """For each table the rows that this session has read so far, and has not told the statistics."""
    return dict(
        connection.execute(
            "SELECT t.relname, sum(coalesce(s.seq_tup_read, 0) + coalesce(s.idx_tup_fetch, 0))::bigint"
            f" FROM pg_stat_xact_user_tables AS s {WITH_PARTITIONS.format('s.relid')} WHERE s.schemaname = 'public'"
            " GROUP BY 1",
            [NAMES],
        ).fetchall()
    )


def _stated(header: str, table: str | None) -> Locks:
    """What the header of a step says of its locks, in the online mode."""
    plain, _, online = header.partition("; online ")
    if online and " on " not in online:
        online += " on the table"
    found: Locks = {}
    modes = "|".join(sorted(MODES, key=len, reverse=True))
    for mode, names in re.findall(rf"({modes}) on (.+?)(?=, [A-Z]|$)", online or plain):
        for name in re.split(r", | and ", names):
            bare = name.removeprefix("on ")
            found[str(table) if bare == "the table" else bare] = mode
    # Nobody else sees that one yet.
    found.pop("the new table", None)
    return found


def _beyond(locks: Locks, least: int) -> Locks:
    """The locks on tenant tables and on organizations and memberships that may stop somebody."""
    return {name: mode for name, mode in locks.items() if MODES.index(mode) > least and name != "migration_log"}


def _wal(connection: Connection) -> int:
    [(written,)] = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()
    return int(written)
