"""The online mode beside an application at work: nothing fails, nothing is lost, and nobody waits for long."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg
import pytest

from phase_1.inventory import DEFAULT_ORGANIZATION, TABLES
from phase_1.problems import DONE
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.support.runner import run
from tests.support.steps import Waits
from tests.support.workload import Answer, Workload

#: How long the application is at work before and after, in seconds: enough to know what is usual.
_BEFORE, _AFTER = 1.5, 1.0
#: What the runner waits for a lock, and what a statement may wait beyond that, in seconds.
_LOCK_TIMEOUT, _BEYOND = 0.2, 0.1
#: How long each of the enemies stays in the way, in seconds.
_IN_THE_WAY = 1.5


@contextmanager
def _report(database: Database) -> Iterator[None]:
    """A report that reads every sale, and is at it for a while."""
    with _later(database, [f"SELECT count(*), pg_sleep({_IN_THE_WAY}) FROM public.sellout_entries2"]):
        yield


@contextmanager
def _idler(database: Database) -> Iterator[None]:
    """A session idle in a transaction, with a snapshot, that has touched no tenant table."""
    with _later(database, ["CREATE TEMP TABLE of_its_own ()", "SELECT count(*) FROM pg_class"], _IN_THE_WAY):
        yield


@contextmanager
def _vacuum(database: Database) -> Iterator[None]:
    """What autovacuum does, on every table, again and again."""
    ended = threading.Event()

    def clean() -> None:
        with database.connect() as session:
            while not ended.is_set():
                for table in TABLES:
                    # It waits for the build of an index, and the build for its snapshot. A worker of autovacuum
                    # comes back, as this one does.
                    with suppress(psycopg.errors.DeadlockDetected):
                        session.execute(f"VACUUM (ANALYZE) public.{table.name}".encode())

    thread = threading.Thread(target=clean)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _other_order(database: Database) -> Iterator[None]:
    """An application that locks its tables from the last to the first."""
    ended = threading.Event()

    def cross() -> None:
        with database.connect(OWNER, autocommit=False, prepare_threshold=None) as session:
            while not ended.is_set():
                for table in reversed(TABLES):
                    session.execute(f"SELECT FROM public.{table.name} LIMIT 1 FOR SHARE".encode())
                session.rollback()
                ended.wait(0.01)

    thread = threading.Thread(target=cross)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _later(database: Database, statements: list[str], seconds: float = 0.0) -> Iterator[None]:
    """Says the statements in one transaction of a thread of its own, and ends it ``seconds`` after the last."""
    begun = threading.Event()

    def stay() -> None:
        with database.connect(OWNER, autocommit=False) as session:
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            begun.set()
            for statement in statements:
                session.execute(statement.encode())
            time.sleep(seconds)  # it is in the way for so long, whoever waits for it

    thread = threading.Thread(target=stay)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        thread.join()


_ENEMIES = {"alone": (), "beside its enemies": (_report, _idler, _vacuum, _other_order)}


@pytest.mark.claim("load-sees-no-failure", "acknowledged-rows-stay", "stalls-are-bounded")
@pytest.mark.parametrize("enemies", _ENEMIES.values(), ids=_ENEMIES.keys())
def test_application_goes_on_while_phase_1_is_applied_and_taken_back(
    templates: Templates, enemies: tuple[Any, ...], evidence: Evidence
) -> None:
    """No statement of the old application fails or waits long for us, and what it was told is there, is there.

    What fails for a customer in that minute is not found in any log of ours.
    """
    database = templates.clone("founding-large")
    phases: dict[str, tuple[float, float]] = {}
    with Workload(database) as application, Waits(database) as waits:
        time.sleep(_BEFORE)
        with ExitStack() as stack:
            for enemy in enemies:
                stack.enter_context(enemy(database))
            for phase, arguments in (("migration", []), ("rollback", ["--rollback"])):
                began = application.now
                done = run("--dsn", database.owner_dsn, "--force", "--online", *arguments)
                assert done.status == DONE, done.err
                phases[phase] = (began, application.now)
                if phase == "migration":
                    _assert_every_row_has_its_client(database)
        time.sleep(_AFTER)
    assert application.failures == {}
    with database.connect() as session:
        assert application.lost(session) == []
    usual = [each for each in application.answers if not any(a <= each.due <= b for a, b in phases.values())]
    evidence("statements before and after", _figures(usual))
    for phase, (began, ended) in phases.items():
        meanwhile = [each for each in application.answers if began <= each.due <= ended]
        evidence(f"statements during the {phase}, of {ended - began:.1f} s", _figures(meanwhile))
    longest, statement = waits.longest
    evidence("the longest wait for a lock of the migration", {"ms": round(1000 * longest, 1), "for": statement})
    # A busy machine holds up the migration too, and whoever waits for it.
    assert longest < _LOCK_TIMEOUT + _BEYOND + max(each.latency for each in usual), statement
    database.drop()


def _assert_every_row_has_its_client(database: Database) -> None:
    for table in TABLES:
        found = database.query(f"SELECT DISTINCT client_id::text FROM public.{table.name}")
        assert found == [(DEFAULT_ORGANIZATION,)], table.name


def _figures(answers: list[Answer]) -> dict[str, Any]:
    latencies = sorted(1000 * each.latency for each in answers)
    quantiles = statistics.quantiles(latencies, n=100)
    return {
        "statements": len(latencies),
        "ms at p50": round(quantiles[49], 1),
        "ms at p99": round(quantiles[98], 1),
        "ms at most": round(latencies[-1], 1),
    }


@pytest.mark.claim("load-sees-no-failure", "acknowledged-rows-stay", "stalls-are-bounded")
def test_what_fails_stalls_or_is_lost_is_seen(templates: Templates) -> None:
    """The measure can fail: a table that is locked, a row that is deleted and a column that goes are noticed."""
    database = templates.clone("founding")
    with (
        Workload(database) as application,
        Waits(database) as waits,
        database.connect(OWNER, application_name="phase_1") as session,
    ):
        time.sleep(0.3)
        with session.transaction():
            session.execute("LOCK TABLE public.email_logs")
            time.sleep(0.6)
        session.execute("ALTER TABLE public.products RENAME name TO title")
        time.sleep(0.3)
    with database.connect() as session:
        session.execute("DELETE FROM public.email_logs WHERE recipient = 'twin'")
        session.execute("UPDATE public.uploads SET rows_processed = 0")
        assert len(application.lost(session)) > len(application.inserted) > 0
    assert waits.longest[0] > 0.5
    assert {each.partition(": ")[2] for each in application.failures} == {psycopg.errors.UndefinedColumn.sqlstate}
    database.drop()
