"""Doing it: transactions with retries for locks, what happened read from the server, a log that survives."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional

import psycopg
from psycopg import errors, pq

from phase_1 import journal
from phase_1.connection import ConnectionProblem, close, connect
from phase_1.found import ADVISORY_LOCK
from phase_1.options import Options
from phase_1.plan import Plan, Step, Transaction

#: What means that somebody else holds a lock; everything else is not tried again.
GIVE_WAY = (errors.LockNotAvailable, errors.DeadlockDetected)

#: How long to look for a server that went away, to read what became of a COMMIT: a crash recovery or a
#: failover takes seconds.
RECONNECT_SECONDS = 30.0
#: The longest pause between two tries to get a lock.
LONGEST_PAUSE = 10.0
#: How often the progress and the blockers are looked at.
LOOK_SECONDS = 0.1

COMMITTED, ROLLED_BACK, UNKNOWN = "committed", "rolled back", "unknown"


class AnotherRunner(Exception):
    """Somebody else is running Phase 1 on this database. Exit code 6."""


class Failed(Exception):
    """The run failed. ``verdict`` is what the server says of the transaction that was under way."""

    def __init__(self, label: str, message: str, sqlstate: str = "", verdict: str = ROLLED_BACK) -> None:
        super().__init__(message)
        self.label = label
        self.message = message
        self.sqlstate = sqlstate
        self.verdict = verdict


@dataclass(frozen=True)
class Noted:
    """An entry of the log written inside a transaction: it is there if the transaction was committed."""

    entry: int
    transaction: int


class Watch:
    """What is told while the run goes on; the console shows it, the tests read it."""

    def step(self, step: Step, number: int, count: int) -> None:
        """A step begins."""

    def progress(self, share: float) -> None:
        """How much of the step's index is built, from 0 to 1."""

    def waiting(self, label: str, blockers: List[str], pause: float) -> None:
        """A lock was not to be had; tried again after ``pause`` seconds."""

    def finished(self) -> None:
        """The last step is done, or the run has stopped."""


class Sessions:
    """The two sessions of a run: one does the work, the other keeps the log and looks on."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.work = connect(dsn)
        self.control = connect(dsn)

    def close(self) -> None:
        """Closes both, whatever state they are in."""
        close(self.work)
        close(self.control)

    def usable_control(self, seconds: float = RECONNECT_SECONDS) -> Optional[psycopg.Connection[Any]]:
        """The control session, a new one if it broke, or None if the server stays away."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.control.closed or self.control.broken:
                    self.control = connect(self.dsn)
                self.control.execute("SELECT 1")
            except (psycopg.Error, ConnectionProblem):
                close(self.control)
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.5)
            else:
                return self.control

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the advisory lock of Phase 1. Raises AnotherRunner, naming who holds it.

        It is the working session that holds it: while the server still works for a runner that is gone,
        nobody else starts.
        """
        row = self.work.execute(f"SELECT pg_catalog.pg_try_advisory_lock({ADVISORY_LOCK})").fetchone()
        if not (row and row[0]):
            raise AnotherRunner(_holder(self.control))
        try:
            yield
        finally:
            # A session that broke holds no lock any more.
            with suppress(psycopg.Error):
                self.work.execute(f"SELECT pg_catalog.pg_advisory_unlock({ADVISORY_LOCK})")

    def log(self, operation: str, status: str, details: Mapping[str, Any]) -> bool:
        """Writes an entry over the control session; False if the server stays away."""
        control = self.usable_control()
        if control is None:
            return False
        try:
            control.execute("SET lock_timeout = '5s'")
            control.execute(journal.entry(operation, status, details))
            control.execute("RESET lock_timeout")
        except psycopg.Error:
            return False
        return True


def _holder(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute(
        "SELECT a.pid, a.usename, a.application_name, a.client_addr, a.backend_start::timestamptz(0)"
        " FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objsubid = 1 AND l.objid = %s"
        " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())",
        [ADVISORY_LOCK],
    ).fetchone()
    if row is None:
        return "another runner is at work"
    pid, user, application, address, since = row
    origin = f" from {address}" if address else ""
    return f"another runner is at work: process {pid} ({user}, {application}{origin}), since {since}"


def blockers(connection: psycopg.Connection[Any], pid: int) -> List[str]:
    """Who keeps the process ``pid`` waiting, in words."""
    return [
        f"process {blocker} ({application or 'no application name'}, {user}, {state or 'state unknown'}, in a "
        f"transaction for {age} s): {query or 'query not visible to this role'}"
        for blocker, application, user, state, age, query in connection.execute(
            "SELECT pid, application_name, usename, state,"
            " coalesce(round(extract(EPOCH FROM clock_timestamp() - xact_start)), 0)::int,"
            " left(regexp_replace(query, '\\s+', ' ', 'g'), 100)"
            " FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_catalog.pg_blocking_pids(%s))",
            [pid],
        )
    ]


class _Observer(threading.Thread):
    """Looks at the progress of an index build and at who is in the way, over the control session."""

    def __init__(self, control: psycopg.Connection[Any], pid: int, watch: Watch) -> None:
        super().__init__(daemon=True)
        self._control = control
        self._pid = pid
        self._watch = watch
        self._ended = threading.Event()
        self.seen: List[str] = []

    def run(self) -> None:
        # Told of a broken session by the main thread, which needs it for more than looking.
        with suppress(psycopg.Error):
            while not self._ended.wait(LOOK_SECONDS):
                self.seen = blockers(self._control, self._pid) or self.seen
                row = self._control.execute(
                    "SELECT greatest(blocks_done::float / nullif(blocks_total, 0),"
                    " tuples_done::float / nullif(tuples_total, 0))"
                    " FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s",
                    [self._pid],
                ).fetchone()
                if row and row[0] is not None:
                    self._watch.progress(min(row[0], 1.0))

    def stop(self) -> None:
        self._ended.set()
        self.join()


@contextmanager
def _observed(sessions: Sessions, watch: Watch) -> Iterator[_Observer]:
    observer = _Observer(sessions.control, sessions.work.info.backend_pid, watch)
    observer.start()
    try:
        yield observer
    finally:
        observer.stop()


def run(plan: Plan, sessions: Sessions, options: Options, watch: Watch) -> None:
    """Runs every transaction of the plan. Raises Failed; the log has then an entry that says where and why."""
    numbers = {step.label: number for number, step in enumerate(plan.steps, start=1)}
    started = False
    for transaction in plan.transactions:
        if transaction.logged and not started:
            started = True
            _log_start(plan, sessions)
        try:
            _run_with_retries(transaction, sessions, options, watch, numbers)
        except (psycopg.Error, KeyboardInterrupt) as error:
            failed = _failure(error, transaction, sessions)
            if started:
                _log_failure(plan, failed, sessions)
            watch.finished()
            raise failed from error
    watch.finished()


def _log_start(plan: Plan, sessions: Sessions) -> None:
    options = plan.found.options
    sessions.log(
        plan.operation, "started", {"mode": options.mode, "steps": len(plan.steps), "user": plan.found.user}
    )
    if plan.operation == "migrate":
        for name in sorted(options.skipped_tables | options.skipped_indexes):
            sessions.log(name, "skipped", {"reason": "left out on purpose"})


def _log_failure(plan: Plan, failed: Failed, sessions: Sessions) -> None:
    details = {"error": failed.message, "sqlstate": failed.sqlstate, "outcome": failed.verdict}
    logged = failed.label == plan.operation or sessions.log(failed.label, "failed", details)
    if not (logged and sessions.log(plan.operation, "failed", {**details, "step": failed.label})):
        failed.message += " (The log could not be written: no session to be had.)"


class _Attempt:
    """One go at a transaction: where it is, and what it noted."""

    def __init__(self) -> None:
        self.label = ""
        self.noted: Optional[Noted] = None
        self.committing = False


def _run_with_retries(
    transaction: Transaction, sessions: Sessions, options: Options, watch: Watch, numbers: Dict[str, int]
) -> None:
    deadline = time.monotonic() + options.give_up_after / 1000
    steps = {step.label: step for step in transaction.steps}
    tries = 0
    while True:
        tries += 1
        attempt = _Attempt()
        with _observed(sessions, watch) as observer:
            try:
                for statement in transaction.statements:
                    if statement.step in steps and statement.step != attempt.label:
                        attempt.label = statement.step or ""
                        watch.step(steps[attempt.label], numbers[attempt.label], len(numbers))
                    attempt.committing = statement.sql == "COMMIT;"
                    cursor = sessions.work.execute(statement.sql)
                    if statement.noted:
                        attempt.noted = Noted(*(cursor.fetchone() or (0, 0)))
                return
            except BaseException as error:
                error.__dict__["attempt"] = attempt
                if not isinstance(error, GIVE_WAY) or sessions.work.broken:
                    raise
                sessions.work.execute("ROLLBACK")
                conflict = error
        pause = min(LONGEST_PAUSE, options.lock_timeout / 1000 * 2 ** (tries - 1)) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        where = attempt.label or "locking the tables"
        watch.waiting(where, observer.seen, pause)
        if time.monotonic() + pause > deadline:
            who = "; ".join(observer.seen) or "it was gone before it could be seen"
            conflict.__dict__["given_up"] = (
                f"no lock within {options.give_up_after / 1000:g} s, {tries} tries ({where}). In the way: {who}"
            )
            raise conflict
        time.sleep(pause)


def _failure(error: BaseException, transaction: Transaction, sessions: Sessions) -> Failed:
    """Rolls back, asks the server what happened, and says so."""
    attempt: _Attempt = error.__dict__.get("attempt", _Attempt())
    where = attempt.label or "migrate"
    if isinstance(error, KeyboardInterrupt):
        message, sqlstate = "interrupted from the keyboard", ""
    else:
        assert isinstance(error, psycopg.Error)
        message, sqlstate = _in_words(error), error.sqlstate or ""
        message = error.__dict__.get("given_up", message)
    with suppress(psycopg.Error):
        if sessions.work.info.transaction_status != pq.TransactionStatus.IDLE:
            sessions.work.execute("ROLLBACK")
    if sessions.work.broken or attempt.committing:
        verdict = _verdict(attempt.noted, sessions)
    else:
        verdict = ROLLED_BACK
    return Failed(where, message, sqlstate, verdict)


def _in_words(error: psycopg.Error) -> str:
    diagnostic = error.diag
    parts = [diagnostic.message_primary or " ".join(str(error).split()) or type(error).__name__]
    if diagnostic.message_detail:
        parts.append(diagnostic.message_detail)
    if diagnostic.message_hint:
        parts.append(f"Hint: {diagnostic.message_hint}")
    return " ".join(parts)


def _verdict(noted: Optional[Noted], sessions: Sessions) -> str:
    """What became of a transaction whose session broke, read from the server.

    Without an entry in the log nothing can have been committed. With one, the entry is there if and only
    if the transaction was committed, as soon as it is no longer in progress.
    """
    deadline = time.monotonic() + RECONNECT_SECONDS
    while time.monotonic() < deadline:
        control = sessions.usable_control(deadline - time.monotonic())
        if control is None:
            return UNKNOWN
        if noted is None:
            return ROLLED_BACK
        try:
            status = _transaction_status(control, noted.transaction)
            if status == "in progress":
                time.sleep(LOOK_SECONDS)
                continue
            if status == "committed" or _is_logged(control, noted.entry):
                return COMMITTED
        except psycopg.OperationalError:
            continue
        return ROLLED_BACK
    return UNKNOWN


def _transaction_status(connection: psycopg.Connection[Any], transaction: int) -> str:
    try:
        row = connection.execute("SELECT pg_catalog.txid_status(%s)", [transaction]).fetchone()
    except errors.InvalidParameterValue:
        # After a failover to a standby that never heard of it the id is "in the future".
        return "unknown here"
    return str(row[0]) if row else ""


def _is_logged(connection: psycopg.Connection[Any], entry: int) -> bool:
    try:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM public.migration_log WHERE id = %s AND status = 'completed')", [entry]
        ).fetchone()
    except errors.UndefinedTable:
        return False
    return bool(row and row[0])
