"""What the migration costs, against what its index builds and validations cost alone, and against the usual way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import pytest

from phase_1.apply import Sessions, Watch, run
from phase_1.inventory import DEFAULT_ORGANIZATION, NEW_TABLES, TABLES
from phase_1.options import parse
from phase_1.plan import Step
from tests.plugins.database import OWNER, Database, Templates
from tests.plugins.server import Server
from tests.support.benchmark import Figures, median, sales_of
from tests.support.steps import plan_of, position
from tests.support.watchdog import REPOSITORY

pytestmark = pytest.mark.benchmark

#: The steps that give every row its client.
_COLUMNS = ("add_client_id",)
#: The steps that read the tables: below these no migration can be.
_BARE = ("create_index", "validate_client_id_foreign_key")
#: What these steps need.
_NEEDED = ("create_organizations", "create_default_organization", "add_client_id", "add_client_id_foreign_key")

_OURS = {"transactional": [], "online": ["--online"], "online, 2 jobs": ["--online", "--jobs", "2"]}
_USUAL, _LIMIT = "the usual way", "the limit"
#: Up to so many sales a way is measured several times.
_SMALL, _ROUNDS = 200_000, 3

#: The goals.
_WHOLE, _ONLINE, _WAL, _COLUMNS_MS, _COLUMNS_BYTES, _MEMORY = 1.15, 1.6, 0.1, 50, 2**20, 80
#: Runs a program and says how much memory it had at the most. A process of its own does it: what is forked counts
#: with the memory of its parent, and pytest is large.
_WEIGH = (
    "import resource, subprocess, sys\n"
    "done = subprocess.run([sys.executable, *sys.argv[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    "sys.exit(done.returncode)"
)
_LOOKS = 0.005  # seconds between two looks at the locks


class _Meter(Watch):
    """Seconds of each step, and the WAL that the server wrote meanwhile, in bytes."""

    def __init__(self, control: psycopg.Connection[Any]) -> None:
        self._control = control
        self._step: Step | None = None
        self._since = (0.0, 0)
        self.seconds: dict[str, float] = defaultdict(float)
        self.wal: dict[str, int] = defaultdict(int)

    def step(self, step: Step, number: int, count: int) -> None:
        self.finished()
        self._step, self._since = step, (time.perf_counter(), position(self._control))

    def finished(self) -> None:
        if self._step is not None:
            name = self._step.section.name
            self.seconds[name] += time.perf_counter() - self._since[0]
            self.wal[name] += position(self._control) - self._since[1]
            self._step = None


@dataclass
class _Taken:
    """What a way of migrating took: seconds and bytes; the lock is the longest that shuts a table's readers out."""

    seconds: float
    wal: int
    growth: int
    indexes: int
    temporary: int
    locked: float
    columns_ms: float = 0.0
    columns_wal: int = 0


@pytest.fixture(scope="module")
def whole_pages(server: Server) -> Iterator[None]:
    """Pages go whole into the WAL when they are first changed after a checkpoint, as wherever data is to last.

    The suite's servers do without, since theirs is not: an UPDATE of every row then writes less than it would.
    """
    with server.connect() as session:
        [(before,)] = session.execute("SHOW full_page_writes")
        session.execute("ALTER SYSTEM SET full_page_writes = on")
        session.execute("SELECT pg_reload_conf()")
        yield
        session.execute(f"ALTER SYSTEM SET full_page_writes = {before}".encode())
        session.execute("SELECT pg_reload_conf()")


@pytest.mark.usefixtures("whole_pages")
def test_migration_costs_little_more_than_its_indexes(
    loaded: Database, templates: Templates, figures: Figures, request: pytest.FixtureRequest
) -> None:
    """Columns and backfill take no more than 1 MB of WAL and no table grows, at any size; the rest is indexes.

    A backfill that rewrites rows takes minutes under a lock that stops every reader.
    """
    sales = sales_of(loaded)
    ways: dict[str, Callable[[Database, _Taken], None]] = {
        _LIMIT: _limit,
        **{way: partial(_ours, arguments=given) for way, given in _OURS.items()},
        _USUAL: _usual,
    }
    every: dict[str, list[_Taken]] = defaultdict(list)
    for number in range(_ROUNDS if sales <= _SMALL else 1):
        # Everything is held against the limit: where it is not measured again, it is measured first and last.
        for way in (*ways, *([_LIMIT] if sales > _SMALL else [])) if number % 2 == 0 else reversed(ways):
            database = templates.copy(loaded)
            every[way].append(_measured(database, ways[way]))
            database.drop()
    taken = {
        way: _Taken(*(median([float(getattr(each, name)) for each in several]) for name in _Taken.__annotations__))  # type: ignore[arg-type]
        for way, several in every.items()
    }
    limit, usual = taken[_LIMIT], taken[_USUAL]
    for way, each in taken.items():
        figures.row(
            "migration", way=way, sales=sales,
            **{"seconds": round(each.seconds, 3), "against the limit": round(each.seconds / limit.seconds, 2),
               "WAL, MB": round(each.wal / 2**20, 2), "tables grown, MB": round(each.growth / 2**20, 2),
               "indexes, MB": round(each.indexes / 2**20, 1), "temporary, MB": round(each.temporary / 2**20, 1),
               "longest ACCESS EXCLUSIVE, s": round(each.locked, 3), "columns, ms": round(each.columns_ms, 1),
               "columns, kB of WAL": round(each.columns_wal / 1024, 1)},
        )  # fmt: skip
        figures.gate(f"{way}, {sales} sales, WAL against the limit", each.wal / limit.wal, "ratio of bytes")
        # Of a few thousand rows it is the statements that count, not what they read.
        if sales >= _SMALL // 2 and way in _OURS:
            figures.gate(
                f"{way}, {sales} sales, time against the limit", each.seconds / limit.seconds, "ratio of times"
            )
    _goals(figures, sales, taken, largest="sales=N]" in request.node.name)
    for way in _OURS:
        # Counts are gated, times are shown.
        assert taken[way].columns_wal <= _COLUMNS_BYTES, way
        assert taken[way].growth == 0, way
    assert usual.growth > 0  # the measure can see a table that is written again


def _goals(figures: Figures, sales: int, taken: dict[str, _Taken], *, largest: bool) -> None:
    limit, usual, where = taken[_LIMIT], taken[_USUAL], f"{sales:,} sales"
    if largest:
        for way, goal in zip(_OURS, (_WHOLE, _ONLINE, _ONLINE), strict=True):
            figures.goal(f"{way}: time against the limit", taken[way].seconds / limit.seconds, goal, where=where)
        indexes = limit.wal
        ours = taken["transactional"].wal
        figures.goal("WAL against the usual way, all of it", ours / usual.wal, _WAL, where=where)
        figures.goal(
            "WAL against the usual way, without the indexes of either",
            max(ours - indexes, 0) / max(usual.wal - indexes, 1), _WAL, where=where,
        )  # fmt: skip
    # The same statements in each of the modes.
    milliseconds = median([taken[way].columns_ms for way in _OURS])
    figures.goal(f"columns and backfill, {where}", milliseconds, _COLUMNS_MS, "ms")
    wal = max(taken[way].columns_wal for way in _OURS)
    figures.goal(f"columns and backfill, {where}: WAL", wal / 2**20, _COLUMNS_BYTES / 2**20, "MB")
    grown = max(taken[way].growth for way in _OURS)
    figures.goal(f"growth of the tables, {where}", grown / 2**20, 0, "MB")


def _measured(database: Database, way: Callable[[Database, _Taken], None]) -> _Taken:
    """Runs a way of migrating, and looks at the database before, meanwhile and after it."""
    taken = _Taken(0.0, 0, 0, 0, 0, 0.0)
    names = [table.name for table in TABLES]
    sizes = "SELECT sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint FROM pg_class" \
        " WHERE relnamespace = 'public'::regnamespace AND relname = ANY (%s)"  # fmt: skip
    temporary = "SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()"
    # Reads every page once, so that none of them has a cold cache.
    for name in names:
        database.query(f"SELECT count(*) FROM public.{name}")
    [(table_bytes, index_bytes)] = database.query(sizes, names)
    [(written,)] = database.query(temporary)
    # Every way changes each page for the first time.
    database.execute("CHECKPOINT")
    with _longest_hold(database) as hold:
        way(database, taken)
    taken.locked = hold[0]
    [(table_bytes_after, index_bytes_after)] = database.query(sizes, names)
    [(written_after,)] = database.query(temporary)
    taken.growth, taken.temporary = table_bytes_after - table_bytes, written_after - written
    taken.indexes = taken.indexes or index_bytes_after - index_bytes
    return taken


@contextmanager
def _longest_hold(database: Database) -> Iterator[list[float]]:
    """The longest that one session kept the readers of one tenant table out, in seconds, as seen from another."""
    longest = [0.0]
    ended = threading.Event()
    names = [table.name for table in TABLES]

    def look() -> None:
        since: dict[tuple[int, int], float] = {}
        with database.connect(application_name="suite") as connection:
            # By their numbers: to look one up by its name would wait for the lock.
            tables = [
                int(number)
                for (number,) in connection.execute(
                    "SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY (%s)",
                    [names],
                )
            ]
            while not ended.wait(_LOOKS):
                now = time.perf_counter()
                held = {
                    (int(pid), int(relation))
                    for pid, relation in connection.execute(
                        "SELECT pid, relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"
                        " AND relation = ANY (%s)",
                        [tables],
                    )
                }
                since = {each: since.get(each, now) for each in held}
                longest[0] = max([longest[0], *(now - began for began in since.values())])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield longest
    finally:
        ended.set()
        thread.join()


def _ours(database: Database, taken: _Taken, arguments: list[str]) -> None:
    sessions = Sessions(database.owner_dsn)
    plan = plan_of(sessions, arguments)
    with database.connect(application_name="suite") as control:
        meter = _Meter(control)
        before, began = position(control), time.perf_counter()
        run(plan, sessions, parse(arguments), meter)
        taken.seconds, taken.wal = time.perf_counter() - began, position(control) - before
    sessions.close()
    taken.columns_ms = 1000 * sum(meter.seconds[name] for name in _COLUMNS)
    taken.columns_wal = sum(meter.wal[name] for name in _COLUMNS)


def _limit(database: Database, taken: _Taken) -> None:
    """The index builds and validations alone, in a transaction of their own."""
    sessions = Sessions(database.owner_dsn)
    plan = plan_of(sessions, [])
    sessions.close()
    with database.connect(OWNER, autocommit=False) as connection:
        for step in plan.steps:
            if step.section.name in _NEEDED:
                for statement in step.statements:
                    connection.execute(statement.encode())
        before, began = position(connection), time.perf_counter()
        for step in plan.steps:
            if step.section.name in _BARE:
                for statement in step.statements:
                    connection.execute(statement.encode())
        taken.seconds, taken.wal = time.perf_counter() - began, position(connection) - before
        connection.commit()


def _usual(database: Database, taken: _Taken) -> None:
    """A nullable column with its foreign key, an UPDATE, SET NOT NULL and plain indexes, in one transaction."""
    sessions = Sessions(database.owner_dsn)
    indexes = [step.statements[0] for step in plan_of(sessions, []).steps if step.section.name == "create_index"]
    sessions.close()
    with database.connect(OWNER, autocommit=False) as connection:
        before, began = position(connection), time.perf_counter()
        connection.execute(
            "CREATE TABLE public.organizations ("
            " id uuid PRIMARY KEY, name text NOT NULL UNIQUE, slug text NOT NULL UNIQUE);"
            " CREATE TABLE public.user_organizations (user_id uuid NOT NULL REFERENCES public.users (id),"
            " organization_id uuid NOT NULL REFERENCES public.organizations (id),"
            " PRIMARY KEY (user_id, organization_id));"
            f" INSERT INTO public.organizations VALUES ('{DEFAULT_ORGANIZATION}', 'Default', 'default-org')"
        )
        column = "ADD COLUMN client_id uuid REFERENCES public.organizations (id)"
        for table in TABLES:
            connection.execute(f"ALTER TABLE public.{table.name} {column}".encode())
        began_columns, written = time.perf_counter(), position(connection)
        for table in TABLES:
            connection.execute(f"UPDATE public.{table.name} SET client_id = '{DEFAULT_ORGANIZATION}'".encode())
            connection.execute(f"ALTER TABLE public.{table.name} ALTER COLUMN client_id SET NOT NULL".encode())
        taken.columns_ms = 1000 * (time.perf_counter() - began_columns)
        taken.columns_wal = position(connection) - written
        connection.execute("INSERT INTO public.user_organizations SELECT id, client_id FROM public.users")
        for statement in indexes:
            connection.execute(statement.encode())
        connection.commit()
        taken.seconds, taken.wal = time.perf_counter() - began, position(connection) - before


@pytest.mark.parametrize("mode", ["transactional", "online, 2 jobs"])
def test_runner_needs_the_same_memory_whatever_the_size(
    loaded: Database, templates: Templates, figures: Figures, mode: str
) -> None:
    """The runner as a program of its own stays below 80 MB, with few rows and with many.

    One that reads rows to where it runs dies on the small machine that a deployment leaves for it.
    """
    database = templates.copy(loaded)
    sales = sales_of(database)
    done = subprocess.run(
        [sys.executable, "-c", _WEIGH, "migrate.py", "--dsn", database.owner_dsn, "--force", *_OURS[mode]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    megabytes = int(done.stdout) / 1024  # in kB on Linux
    assert len(database.query("SELECT FROM pg_class WHERE relname = ANY (%s)", list(NEW_TABLES))) == len(NEW_TABLES)
    figures.row("memory", mode=mode, sales=sales, MB=round(megabytes, 1))
    smallest = next(row["MB"] for row in figures.tables["memory"] if row["mode"] == mode)
    figures.goal("memory of the runner", megabytes, _MEMORY, "MB", where=f"{mode}, {sales:,} sales")
    assert megabytes <= min(_MEMORY, 1.2 * smallest)
    database.drop()
