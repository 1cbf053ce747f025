"""What has to hold after any fault: a state that is whole, a verdict that is true, a way on and a way back."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import psycopg

from phase_1.apply import COMMITTED, ROLLED_BACK
from phase_1.fingerprint import Fingerprint, difference
from phase_1.plan import BEGIN
from phase_1.problems import DONE, FAILED, STOPPED, USAGE, VIOLATIONS
from tests.plugins.database import OWNER, Database, Row, Templates
from tests.plugins.server import Server
from tests.support.disk import Disk
from tests.support.faults import FILLS, LONGEST_FREEZE, MODES, OPERATIONS, Fault, Point, Saboteur
from tests.support.looking import LOG, catalog
from tests.support.proxy import Proxy
from tests.support.runner import Run, run, start
from tests.support.workload import Writer

#: How long a run may take, in seconds; then it is cut off, and fails.
_PATIENCE = 90.0
#: A run that was killed, or hung up on, says nothing.
_KILLED = (-signal.SIGKILL, -signal.SIGHUP)

#: Tables that are looked at, and the indexes on them, the promised ones and those of the new tables.
_INDEXES = (
    "SELECT i.indexrelid::regclass::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid"
    " JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS a ON a.oid = x.relam"
    " WHERE c.relnamespace = 'public'::regnamespace AND a.amname = 'btree'"
)


class Entry(NamedTuple):
    """An entry of the log."""

    id: int
    operation: str
    status: str
    outcome: str | None
    step: str | None


class Bench:
    """A server that is killed as often as it takes, and what its databases are like before and after Phase 1."""

    def __init__(self, server: Server, disk: Disk | None = None) -> None:
        """``disk`` is what its data is on, where that can be filled."""
        self._server = server
        self._disk = disk
        self._templates = Templates(server)
        self._states: dict[tuple[str, str], Fingerprint] = {}
        self._rows: dict[str, dict[str, tuple[int, str]]] = {}
        self._courses: dict[tuple[str, str, str], list[str]] = {}
        with server.connect() as connection:
            [(self.amcheck,)] = connection.execute(
                "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'amcheck')"
            )

    def close(self) -> None:
        """Drops what is left, on a server that goes on."""
        self._templates.close()

    def course(self, variant: str, operation: str, mode: str) -> Sequence[str]:
        """The statements of a whole run."""
        key = (variant, operation, mode)
        if key not in self._courses:
            with self.clone(variant, operation) as database:
                arguments = (*OPERATIONS[operation], *MODES[mode])
                ended, saboteur = self._run(database, arguments, [], of_a_program=False)
            assert ended.status == DONE, ended.err
            self._courses[key] = saboteur.course
        return self._courses[key]

    def calls(self, operation: str, mode: str, directory: Path) -> Counter[str]:
        """How often the backend of a whole run of the first variant makes each of the system calls."""
        written = directory / "calls"
        with self.clone("founding", operation) as database:
            arguments = (*OPERATIONS[operation], *MODES[mode])
            ended, _ = self._run(database, arguments, [], of_a_program=False, calls=written)
        assert ended.status == DONE, ended.err
        return Counter(line.partition("(")[0] for line in written.read_text().splitlines())

    def attempt(self, point: Point) -> list[tuple[Fault, str]]:
        """The faults that struck, with their statements. Raises AssertionError where something does not hold."""
        with self.clone(point.variant, point.operation) as database:
            writer = Writer(database)
            with writer if point.writer else nullcontext():
                struck = self._strike(database, point)
                for operation in point.then:
                    ended = run("--dsn", database.owner_dsn, "--force", *OPERATIONS[operation], *MODES[point.later])
                    assert ended.status == DONE, f"the {operation} after it ended with {ended.status}: {ended.err}"
                    self._assert_whole(database, operation, ended)
            self._assert_rows(database, point, writer)
        return struck

    # The runs that are struck

    def _strike(self, database: Database, point: Point) -> list[tuple[Fault, str]]:
        faults, struck = list(point.faults), []
        start_, end = self._ends(point)
        while faults:
            state, last = catalog(database), self._last_entry(database)
            ended, saboteur = self._run(database, point.arguments, faults, of_a_program=point.of_a_program)
            faults = faults[len(saboteur.struck) :]
            struck += saboteur.struck
            if not saboteur.struck and ended.status == DONE:
                break  # the faults that are left were for a run that is longer
            now, entries = catalog(database), self._entries(database, last)
            _judge(ended, point, (state, now), (start_, end), entries, self._index_is_done(database, entries, saboteur))
            assert all(wait < LONGEST_FREEZE for wait in saboteur.waits), f"the application waited {saboteur.waits} s"
        assert struck, "no fault has struck"
        return struck

    def _run(
        self,
        database: Database,
        arguments: Sequence[str],
        faults: Sequence[Fault],
        *,
        of_a_program: bool,
        calls: Path | None = None,
    ) -> tuple[Run, Saboteur]:
        with Proxy(self._server) as proxy:
            saboteur = Saboteur(proxy, self._server, database.name, faults)
            saboteur.calls, saboteur.disk = calls, self._disk
            command = ("--dsn", proxy.dsn(database.name, OWNER), "--force", *arguments)
            if of_a_program:
                saboteur.process = start(*command)
                ended = _wait(saboteur.process)
            else:
                late = threading.Timer(_PATIENCE, proxy.refuse)
                late.start()
                ended = run(*command)
                late.cancel()
            saboteur.settle()
        if self._disk is not None and saboteur.struck:
            # A server that has found no space for its WAL is gone, or comes to no end.
            self._disk.free()
            self._server.kill()
            self._server.restart()
        self._wait_until_it_is_back()
        return ended, saboteur

    def _wait_until_it_is_back(self) -> None:
        """A server that could not write its WAL goes down, and comes back by itself."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._server.connect(application_name="suite").close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "the server does not come back"
                time.sleep(0.05)
            else:
                return

    # What there is

    @contextmanager
    def clone(self, variant: str, operation: str) -> Iterator[Database]:
        """A database with a few rows, as the operation finds it."""
        database = self._templates.clone(f"{variant}-tiny" + ("-migrated" if operation == "rollback" else ""))
        try:
            yield database
        finally:
            database.drop()

    def _ends(self, point: Point) -> tuple[Fingerprint, Fingerprint]:
        there, back = self._state(point.variant, "rollback"), self._state(point.variant, "migrate")
        return (there, back) if point.operation == "migrate" else (back, there)

    def _state(self, variant: str, operation: str) -> Fingerprint:
        """What an operation ends in."""
        key = (variant, operation)
        if key not in self._states:
            with self.clone(variant, "migrate" if operation == "rollback" else "rollback") as database:
                self._states[key] = catalog(database)
                self._rows[variant] = database.checksum()
        return self._states[key]

    def _entries(self, database: Database, after: int) -> list[Entry]:
        with self._server.connect(database.name, application_name="suite") as connection:
            try:
                return [
                    Entry(*entry)
                    for entry in connection.execute(
                        "SELECT id, operation, status, details->>'outcome', details->>'step'"
                        f" FROM {LOG} WHERE id > %s ORDER BY id".encode(),
                        [after],
                    )
                ]
            except psycopg.errors.UndefinedTable:
                return []

    def _last_entry(self, database: Database) -> int:
        return max((entry.id for entry in self._entries(database, 0)), default=0)

    def _index_is_done(self, database: Database, entries: Sequence[Entry], saboteur: Saboteur) -> bool | None:
        """Whether the failed statement outside of a transaction has made its index, or dropped it.

        None if what failed was in a transaction: that which notes the index has its own outcome.
        """
        labels = [entry.step for entry in entries if entry.step and "_index(" in entry.step]
        last = next((sql for sql in reversed(saboteur.course) if "CONCURRENTLY" in sql or sql == BEGIN), BEGIN)
        if not labels or last == BEGIN:
            return None
        step, _, index = labels[-1].rstrip(")").partition("(")
        found = database.query("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('public.' || %s)", index)
        return found == ([(True,)] if step == "create_index" else [])

    # What has to hold at the end

    def _assert_whole(self, database: Database, operation: str, ended: Run) -> None:
        assert difference(self._state(database.variant, operation), catalog(database)) == []
        assert leftovers(database) == []
        runs = [entry for entry in self._entries(database, 0) if entry.operation in OPERATIONS]
        last = runs[-1] if runs else Entry(0, operation, "completed", None, None)
        # What has nothing to do, because the run of before was rolled back as a whole, writes nothing.
        undone = "Nothing to do" in ended.out and last.operation != operation
        assert undone or (last.operation, last.status) == (operation, "completed"), last
        if operation == "migrate":
            assert not database.query(
                "SELECT FROM public.users WHERE id NOT IN (SELECT user_id FROM public.user_organizations)"
            )
        if self.amcheck:
            with (
                self._server.connect(database.name, application_name="suite") as connection,
                connection.transaction(force_rollback=True),
            ):
                connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
                connection.execute(
                    f"SELECT bt_index_check(index::regclass, TRUE) FROM ({_INDEXES}) AS indexes (index)".encode()
                )

    def _assert_rows(self, database: Database, point: Point, writer: Writer) -> None:
        written = Writer.TABLES if point.writer else ()
        kept = {table: rows for table, rows in self._rows[point.variant].items() if table not in written}
        changed = [table for table, rows in database.checksum(kept).items() if rows != kept[table]]
        assert not changed, f"the rows of {', '.join(changed)} are not what they were"
        if point.writer:
            assert writer.inserted, "the writer has written nothing"
            assert not writer.failures, f"statements of the writer have failed: {writer.failures}"
            assert not writer.lost(), f"rows that were acknowledged are lost: {writer.lost()}"


def leftovers(database: Database) -> list[Row]:
    """Invalid indexes, and advisory locks."""
    return database.query(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready AND indislive)"
        " UNION ALL SELECT 'advisory lock ' || objid FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )


def _judge(
    ended: Run,
    point: Point,
    states: tuple[Fingerprint, Fingerprint],
    ends: tuple[Fingerprint, Fingerprint],
    entries: Sequence[Entry],
    index_is_done: bool | None,
) -> None:
    """Compares what a run says of itself with what is there. ``states`` are those before and after it."""
    (before, now), (_, end) = states, ends
    said = f"exit code {ended.status}: {ended.err[-1000:]}"
    assert "Traceback" not in ended.err, said
    if point.mode == "transactional":
        assert now in (before, end), [*difference(before, now), *difference(end, now), said]
    if ended.status not in _KILLED:
        assert ended.status in (DONE, FAILED, USAGE, VIOLATIONS, STOPPED), said
        if ended.status in (FAILED, USAGE):
            assert difference(before, now) == [], said
        elif ended.status in (DONE, VIOLATIONS):
            assert difference(end, now) == [], said
    assert now == before or entries, "the log says nothing of what was done"
    if ended.status not in (DONE, *_KILLED):
        assert "What to do:" in ended.err or "Nothing was touched" in ended.err, said
    failed = [entry for entry in entries if entry.status == "failed" and entry.step]
    if ended.status not in _KILLED:
        assert ("The entry in migration_log has the details" in ended.err) == bool(failed), said
    if failed:
        _judge_entry(failed[-1], ended, entries, index_is_done)
    if ended.status == STOPPED:
        # A server without space for its WAL does not come back to be asked.
        asked_in_vain = any(fault.strike in FILLS for fault in point.faults) and "is unknown" in ended.err
        assert point.mode == "online" or asked_in_vain or "the server says that it got through" in ended.err, said


def _judge_entry(failed: Entry, ended: Run, entries: Sequence[Entry], index_is_done: bool | None) -> None:
    """Compares the outcome that the log has with what is there."""
    assert failed.outcome in (COMMITTED, ROLLED_BACK), failed
    if ended.status not in _KILLED:
        assert (failed.outcome == COMMITTED) == ("the server says that it got through" in ended.err), ended.err
    assert failed.step is not None
    noted = any(entry.operation == failed.step and entry.status == "completed" for entry in entries)
    done = noted if index_is_done is None else index_is_done
    assert (failed.outcome == COMMITTED) == done, f"{failed}, and it is {'' if done else 'not '}done"


def _wait(process: subprocess.Popen[str]) -> Run:
    try:
        out, err = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"a run that does not end: {out}{err}") from None
    return Run(process.returncode, out, err)
