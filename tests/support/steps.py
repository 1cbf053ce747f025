"""A run step by step: which locks each step holds and for how long, what it writes, and who waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from phase_1.apply import Sessions, Watch, run
from phase_1.found import begin_reading, inspect
from phase_1.inventory import TABLES
from phase_1.options import parse
from phase_1.plan import Plan, Scripts, Step, migration, rollback
from tests.plugins.database import OWNER, Database
from tests.support.locks import MODES, held
from tests.support.proxy import Proxy, Statement

_TENANT_TABLES = {table.name for table in TABLES}
_LOOKS = 0.002  # seconds between two looks at who waits, and at what CONCURRENTLY holds


def plan_of(sessions: Sessions, arguments: list[str]) -> Plan:
    """What a run with these arguments would do."""
    options = parse(arguments)
    begin_reading(sessions.control, options.lock_timeout)
    make = rollback if options.action == "rollback" else migration
    plan = make(sessions.control, inspect(sessions.control, options), Scripts())
    sessions.control.execute("ROLLBACK")
    return plan


def position(connection: psycopg.Connection[Any]) -> int:
    """How much WAL the server has written, in bytes."""
    [(written,)] = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    return int(written)


@dataclass
class Taken:
    """What the steps of one name took: the strongest lock on a tenant table, and the longest that it was held."""

    steps: int = 0
    lock: str = "none"
    seconds: float = 0.0
    wal: int = 0

    def hold(self, mode: str, seconds: float) -> None:
        """Counts a lock."""
        stronger = MODES.index(mode) - (MODES.index(self.lock) if self.lock in MODES else -1)
        if stronger > 0:
            self.lock, self.seconds = mode, seconds
        elif stronger == 0:
            self.seconds = max(self.seconds, seconds)


class _Held(Watch):
    """Looks at what the working session holds after each of its statements, while the run waits for the answer.

    A lock counts from when the statement was sent that took it to when the COMMIT was answered, without the looks:
    no less than it was held.
    """

    def __init__(self, proxy: Proxy, looking: psycopg.Connection[Any]) -> None:
        self._proxy = proxy
        self._looking = looking
        self._since: dict[tuple[str, str], float] = {}
        self._sent = self._aside = 0.0
        self._written = position(looking)
        self._building: tuple[threading.Thread, threading.Event] | None = None
        self.taken: dict[str, Taken] = {}
        self._now = Taken()
        proxy.before(self._before)
        proxy.after(self._after)

    def step(self, step: Step, number: int, count: int) -> None:
        self._now = self.taken.setdefault(step.section.name, Taken())
        self._now.steps += 1

    def _before(self, statement: Statement) -> None:
        if statement.connection:
            return
        if " CONCURRENTLY " in statement.sql:
            ended = threading.Event()
            thread = threading.Thread(target=self._while_building, args=[ended])
            self._building = thread, ended
            thread.start()
        self._sent = time.perf_counter()

    def _after(self, statement: Statement) -> None:
        if statement.connection:
            return
        answered = time.perf_counter()
        if self._building is not None:
            self._building[1].set()
            self._building[0].join()
            self._building = None
        else:
            self._look(self._sent - self._aside)
        if statement.sql == "COMMIT;" or " CONCURRENTLY " in statement.sql:
            for (_, mode), since in self._since.items():
                self._now.hold(mode, answered - self._aside - since)
            self._since.clear()
            written = position(self._looking)
            self._now.wal += written - self._written
            self._written = written
        self._aside += time.perf_counter() - answered

    def _look(self, since: float) -> None:
        for name, mode in held(self._looking, self._proxy.pid(0)).items():
            if name in _TENANT_TABLES:
                self._since.setdefault((name, mode), since)

    def _while_building(self, ended: threading.Event) -> None:
        while not ended.wait(_LOOKS):
            self._look(self._sent - self._aside)


def taken_by_steps(database: Database, arguments: list[str]) -> dict[str, Taken]:
    """Runs the plan, and says for each name of a step what its steps took."""
    with Proxy(database.server) as proxy, database.connect(application_name="suite") as looking:
        sessions = Sessions(proxy.dsn(database.name, OWNER))
        plan = plan_of(sessions, arguments)
        seen = _Held(proxy, looking)
        run(plan, sessions, parse(arguments), seen)
        sessions.close()
    return seen.taken


class Waits(Watch):
    """When each step began, by a clock of the caller's, and how long others were seen to wait for a run.

    What it sees is waiting for a lock alone: a machine that is busy with something else makes nobody wait for us.
    No statement that reads or writes rows asks for SHARE UPDATE EXCLUSIVE: who does is VACUUM, which waits for the
    build of an index by whomever.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.began: list[tuple[float, str]] = []
        #: By the statement of the run: who waited, by process and time, and for how long, in seconds.
        self.waited: dict[str, dict[tuple[int, str], float]] = {}

    @property
    def longest(self) -> tuple[float, str]:
        """The longest wait, in seconds, and for which statement."""
        return max(((max(each.values()), statement) for statement, each in self.waited.items()), default=(0.0, ""))

    def __enter__(self) -> Waits:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def step(self, step: Step, number: int, count: int) -> None:
        self.began.append((self._clock(), step.section.name))

    def _look(self) -> None:
        waiting = (
            "SELECT a.pid, a.query_start::text, min(left(regexp_replace(ours.query, '\\s+', ' ', 'g'), 80))"
            " FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid AND NOT l.granted"
            " JOIN pg_stat_activity AS ours ON ours.pid = ANY (pg_blocking_pids(a.pid))"
            " WHERE l.mode <> 'ShareUpdateExclusiveLock' AND a.datname = current_database()"
            " AND a.application_name <> 'phase_1' AND ours.application_name = 'phase_1' GROUP BY 1, 2"
        )
        since: dict[tuple[int, str], float] = {}
        with self._database.connect(application_name="suite") as connection:
            while not self._ended.wait(_LOOKS):
                looked = time.monotonic()
                found = {(int(pid), str(at)): str(query) for pid, at, query in connection.execute(waiting.encode())}
                since = {each: since.get(each, looked) for each in found}
                for each, statement in found.items():
                    self.waited.setdefault(statement, {})[each] = time.monotonic() - since[each]
