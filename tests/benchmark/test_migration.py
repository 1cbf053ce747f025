"""What the migration costs, against what its index builds and validations cost alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from phase_1.apply import Sessions, Watch, run
from phase_1.found import begin_reading, inspect
from phase_1.options import parse
from phase_1.plan import Plan, Scripts, Step, migration
from tests.application import load
from tests.plugins.database import Database, Templates

pytestmark = pytest.mark.benchmark

#: The steps that give every row its client.
_COLUMNS = ("add_client_id",)
#: The steps that read the tables: below these no migration can be.
_BARE = ("create_index", "validate_client_id_foreign_key")


class _Meter(Watch):
    """Seconds of each step, and the WAL that the server wrote meanwhile, in bytes."""

    def __init__(self, control: psycopg.Connection[Any]) -> None:
        self._control = control
        self._step: Step | None = None
        self._since = (0.0, 0)
        self.seconds: dict[str, float] = {}
        self.wal: dict[str, int] = {}

    def step(self, step: Step, number: int, count: int) -> None:
        self.finished()
        self._step, self._since = step, (time.perf_counter(), self._position())

    def finished(self) -> None:
        if self._step is not None:
            name = self._step.section.name
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - self._since[0]
            self.wal[name] = self.wal.get(name, 0) + self._position() - self._since[1]
            self._step = None

    def _position(self) -> int:
        [position] = self._control.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone() or (0,)
        return int(position)


@pytest.fixture
def filled(templates: Templates, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A founding database with ``--sales`` sales."""
    database = templates.clone("founding-empty")
    with database.connect() as connection:
        load.load(connection, "founding", sales=request.config.option.sales, vacuum=True)
        connection.execute("CHECKPOINT")
    yield database
    database.drop()


def _plan(sessions: Sessions, arguments: list[str]) -> Plan:
    options = parse(arguments)
    begin_reading(sessions.control, options.lock_timeout)
    plan = migration(sessions.control, inspect(sessions.control, options), Scripts())
    sessions.control.execute("ROLLBACK")
    return plan


def _bare_seconds(database: Database, plan: Plan) -> float:
    """Seconds of the index builds and validations alone, in a transaction of their own that is undone."""
    statements = [sql for step in plan.steps if step.section.name in _BARE for sql in step.statements]
    others = ("create_organizations", "create_default_organization", "add_client_id", "add_client_id_foreign_key")
    before = [sql for step in plan.steps if step.section.name in others for sql in step.statements]
    with database.connect("app_owner", autocommit=False) as connection:
        for sql in before:
            connection.execute(sql)
        started = time.perf_counter()
        for sql in statements:
            connection.execute(sql)
        seconds = time.perf_counter() - started
        connection.rollback()
    return seconds


@pytest.mark.parametrize("mode", ["transactional", "online"])
def test_migration_costs_little_more_than_its_indexes(
    filled: Database, benchmark: BenchmarkFixture, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns and backfill take no more than 1 MB of WAL at any size, and the rest is what indexes cost.

    A backfill that rewrites rows takes minutes under a lock that stops every reader.
    """
    sessions = Sessions(filled.owner_dsn)
    options = parse(["--online"] if mode == "online" else [])
    plan = _plan(sessions, ["--online"] if mode == "online" else [])
    transactional = _plan(sessions, [])
    _bare_seconds(filled, transactional)  # reads every page once, so that neither run has a cold cache
    bare = _bare_seconds(filled, transactional)
    with filled.connect() as control:
        meter = _Meter(control)
        started = time.perf_counter()
        benchmark.pedantic(run, args=(plan, sessions, options, meter), rounds=1)  # type: ignore[no-untyped-call]
        seconds = time.perf_counter() - started
    sessions.close()
    columns = {name: (meter.seconds[name], meter.wal[name]) for name in _COLUMNS}
    figures = {
        "sales": options and int(filled.query("SELECT count(*) FROM public.sellout_entries2")[0][0]),
        "mode": mode,
        "seconds": round(seconds, 3),
        "bare_seconds": round(bare, 3),
        "ratio": round(seconds / bare, 2),
        "columns_ms": round(sum(value[0] for value in columns.values()) * 1000, 1),
        "columns_wal_kB": round(sum(value[1] for value in columns.values()) / 1024),
        "wal_MB": round(sum(meter.wal.values()) / 2**20, 1),
        "steps_s": {name: round(value, 3) for name, value in meter.seconds.items() if value > 0.01},
    }
    benchmark.extra_info.update(figures)
    with capsys.disabled():
        print(f"\n{figures}")
    # Counts are gated, times are shown.
    assert columns["add_client_id"][1] <= 2**20
