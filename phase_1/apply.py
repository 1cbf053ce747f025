"""Doing it: transactions with retries for locks, what happened read from the server, a log that survives."""

from __future__ import annotations

import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

import psycopg
from psycopg import errors, pq

from phase_1 import journal
from phase_1.connection import APPLICATION_NAME, Session, close, connect, redact, value
from phase_1.found import ADVISORY_LOCK, Found
from phase_1.options import Options
from phase_1.plan import Plan, Step, Transaction, drops_the_log
from phase_1.problems import FAILED, PROGRAM, STOPPED, AnotherRunner, ConnectionProblem, Problem
from phase_1.scripts import identifier, literal
from phase_1.shown import QUERY, each_text, printable, quotes_a_value, reason, stored_reason

#: What means that somebody else holds a lock; everything else is not tried again.
GIVE_WAY = (errors.LockNotAvailable, errors.DeadlockDetected)

#: What a function of the application that relies on the search_path ends with.
_NOT_FOUND = (errors.UndefinedTable, errors.UndefinedFunction, errors.UndefinedObject)

#: How long to look for a server that went away, to read what became of a COMMIT: a crash recovery or a
#: failover takes seconds.
RECONNECT_SECONDS = 30.0
#: The longest pause between two tries to get a lock.
LONGEST_PAUSE = 10.0
#: How long a session of a runner that has just died may still hold the lock that keeps others out: the
#: server looks after its client once a second.
PARTING_SECONDS = 2.0
#: How often the progress and the blockers are looked at, at least.
LOOK_SECONDS = 0.1

#: What pg_stat_activity calls it.
_AUTOVACUUM = "autovacuum worker"

COMMITTED, ROLLED_BACK, UNKNOWN = "committed", "rolled back", "unknown"

_INTERRUPTED = "interrupted from the keyboard"


class Failed(Problem):
    """The run failed or was stopped. ``verdict`` is what the server says of the transaction under way."""

    #: What the run says of it: in which mode it failed, and whether the log has an entry.
    online: bool
    logged: bool

    def __init__(
        self, label: str, message: str, sqlstate: str = "", verdict: str = ROLLED_BACK, stored: str = ""
    ) -> None:
        super().__init__(message)
        self.label = label
        self.message = message
        #: The message for the log: no value of a row is in it.
        self.stored = stored or message
        self.sqlstate = sqlstate
        self.verdict = verdict

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """1 where the database is as it was, 5 where something was committed or nobody knows."""
        return STOPPED if self.online or self.verdict != ROLLED_BACK else FAILED

    def __str__(self) -> str:
        state = f" (SQLSTATE {self.sqlstate})" if self.sqlstate else ""
        log = (
            "The entry in migration_log has the details."
            if self.logged
            else "There is no entry in migration_log: it could not be written."
        )
        return f"failed at {self.label}: {self.message.rstrip('.')}{state}. {self._consequence()} {log}"

    def _consequence(self) -> str:
        if self.verdict == COMMITTED:
            return (
                "The connection broke before the server had answered, and the server says that it got through: the "
                f"step is done. What to do: {PROGRAM} --status."
            )
        if self.verdict == UNKNOWN:
            return (
                "The server cannot be reached, is still at what it was sent last, or was not waited for, so whether "
                "that got through is unknown. What to do: once it is back and done with it, "
                f"{PROGRAM} --status says."
            )
        if self.online:
            return (
                "What was done before it stays done, and the application is not in the way of it. What to do: remove "
                "the cause and run the same command again to go on, or take it back with --rollback --online."
            )
        return "Everything was rolled back: the database is as it was. What to do: remove the cause and run it again."


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

    def waiting(self, label: str, blockers: Sequence[str], pause: float) -> None:
        """A lock was not to be had; tried again after ``pause`` seconds."""

    def stopping(self) -> None:
        """The run ends after the statement that is under way."""

    def clearing(self) -> None:
        """What an interrupted build has left is dropped, which may take as long as the build would have waited."""

    def disconnected(self, seconds: float) -> None:
        """The server went away; it is waited for, for so long, to read what became of the statement."""

    def finished(self) -> None:
        """The last step is done, or the run has stopped."""


class Sessions:
    """The two sessions of a run: one does the work, the other keeps the log and looks on."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.work = connect(dsn)
        self.control = connect(dsn)
        self._stays_away = False

    def close(self) -> None:
        """Closes both, whatever state they are in."""
        close(self.work)
        close(self.control)

    def usable_control(self, seconds: Optional[float] = None) -> Optional[Session]:
        """The control session, a new one if it broke, or None if the server stays away for so long.

        A server that has stayed away is not waited for again.
        """
        wait = RECONNECT_SECONDS if seconds is None else seconds
        deadline = time.monotonic() + (0 if self._stays_away else wait)
        while True:
            try:
                if self.control.closed or self.control.broken:
                    self.control = connect(self.dsn)
                self.control.execute("SELECT 1")
            except (psycopg.Error, ConnectionProblem):
                close(self.control)
                if time.monotonic() > deadline:
                    self._stays_away = True
                    return None
                time.sleep(0.5)
            else:
                return self.control

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the advisory lock of Phase 1. Raises AnotherRunner, naming who holds it, a runner or not.

        It is the working session that holds it: while the server still works for a runner that is gone,
        nobody else starts.
        """
        deadline = time.monotonic() + PARTING_SECONDS
        while not self._got_the_lock():
            if time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
                continue
            raise AnotherRunner(_occupied(self.control))
        try:
            yield
        finally:
            # A session that broke holds no lock any more.
            with suppress(psycopg.Error):
                self.work.execute(f"SELECT pg_catalog.pg_advisory_unlock({ADVISORY_LOCK})")

    def _got_the_lock(self) -> bool:
        return bool(value(self.work, f"SELECT pg_catalog.pg_try_advisory_lock({ADVISORY_LOCK})"))

    def log(self, operation: str, status: str, details: Mapping[str, Any]) -> bool:
        """Writes an entry over the control session; False if the log is locked, or the server stays away.

        The details are what is told, printable and without passwords. The operation is kept as it is, as are the
        details of a step that is done: a rollback goes by them.
        """
        for _ in range(2):
            control = self.usable_control()
            if control is None:
                return False
            try:
                control.execute("SET lock_timeout = '5s'")
                told = each_text(details, lambda text: printable(redact(text, self.dsn)))
                control.execute(journal.entry(operation, status, told))
            except psycopg.Error:
                # Once more where it was the session that broke; an entry that is there twice says nothing else.
                if not control.broken:
                    return False
            else:
                return True
            finally:
                # Also where the log is locked; a session that broke has no settings any more.
                with suppress(psycopg.Error):
                    control.execute("RESET lock_timeout")
        return False


def _occupied(connection: psycopg.Connection[Any]) -> str:
    """Who holds the advisory lock, whether that is a runner of Phase 1, and what to do."""
    row = connection.execute(
        "SELECT l.pid, a.usename, a.application_name, a.client_addr, a.backend_start::timestamptz(0), l.mode,"
        " r.rolsuper, users.owner, pg_has_role(a.usesysid, users.owner, 'MEMBER'), p.gid, p.owner"
        " FROM pg_catalog.pg_locks AS l"
        " LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid"
        " LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid"
        # The locks of a prepared transaction have no process, and its virtualtransaction in common.
        " LEFT JOIN (pg_catalog.pg_locks AS own JOIN pg_catalog.pg_prepared_xacts AS p"
        "     ON p.transaction = own.transactionid) ON l.pid IS NULL AND own.virtualtransaction = l.virtualtransaction"
        " LEFT JOIN (SELECT pg_get_userbyid(relowner) FROM pg_catalog.pg_class"
        "     WHERE oid = to_regclass('public.users')) AS users (owner) ON TRUE"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objsubid = 1 AND l.objid = %s"
        " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
        # A session may end between the looks at the two views.
        " AND (l.pid IS NULL OR a.pid IS NOT NULL) ORDER BY l.pid LIMIT 1",
        [ADVISORY_LOCK],
    ).fetchone()
    if row is None:
        return (
            "another session held the advisory lock of Phase 1, and has let go of it since. Nothing was touched. What "
            "to do: run it again."
        )
    pid, user, application, address, since, mode, superuser, owner, has_rights, gid, prepared_by = row
    if pid is None:
        name = f", {literal(gid)}, of {identifier(prepared_by)}," if gid else ""
        return (
            f"a prepared transaction{name} holds the advisory lock of Phase 1. No runner of Phase 1 prepares one. "
            "Nothing was touched. What to do: end it with COMMIT PREPARED or ROLLBACK PREPARED."
        )
    user = user or "a role that was dropped"
    # Of a role whose rights ours does not have, the server tells no more than who it is.
    known = [f"from {address}" if address else "", f"since {since}" if since else ""]
    who = f"process {pid} ({', '.join(filter(None, [user, application or 'no application name', *known]))})"
    end_it = f"SELECT pg_terminate_backend({pid}), " + (
        "as a superuser" if superuser else f"as {user}, a member of that role or of pg_signal_backend, or a superuser"
    )
    if has_rights is False:
        why = f"{user} does not have the rights of {owner}, the owner of public.users"
    elif mode != "ExclusiveLock":
        why = "it shares the lock, and a runner never does"
    elif application != APPLICATION_NAME:
        # A pooler may give the sessions of a runner another name.
        return (
            f"{who} holds the advisory lock of Phase 1, and does not look like a runner: its application_name is not "
            f"{APPLICATION_NAME}. Nothing was touched. What to do: let it finish if it is one; else end it: {end_it}."
        )
    else:
        return f"another runner is at work: {who}. What to do: let it finish; nothing was touched."
    return (
        f"{who} holds the advisory lock of Phase 1, but is not a runner of Phase 1: {why}. Nothing was touched. What "
        f"to do: end it: {end_it}."
    )


@dataclass(frozen=True)
class Blocker:
    """Who keeps a process waiting, in words, and what helps against it where that is not plain."""

    words: str
    advice: str = ""


def blockers(connection: psycopg.Connection[Any], pid: int) -> List[Blocker]:
    """Who keeps the process ``pid`` waiting."""
    found = []
    for table, deadlock_timeout, me, blocker, application, user, kind, state, age, query in connection.execute(
        "SELECT coalesce((SELECT relation::regclass::text FROM pg_catalog.pg_locks"
        "     WHERE pid = %(pid)s AND NOT granted AND relation IS NOT NULL LIMIT 1), '...'),"
        " (SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'),"
        " current_user, pid, application_name, usename, backend_type, state,"
        " round(extract(EPOCH FROM clock_timestamp() - xact_start))::int,"
        f" {QUERY}"
        " FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_catalog.pg_blocking_pids(%(pid)s))",
        {"pid": pid},
    ):
        name = f"{application or 'no application name'}, {user}" if user else kind or "of no user, maybe autovacuum"
        if kind is None:
            # Of others a role sees no more than who they are: not even what kind of process it is.
            more = f"; more is not visible to this role: GRANT pg_read_all_stats TO {identifier(me)})"
        else:
            since = "" if age is None else f", in a transaction for {age} s"
            more = f", {state or 'state unknown'}{since}): {query or 'no query'}"
        maybe_autovacuum = kind == _AUTOVACUUM or (kind is None and user is None)
        advice = _against_autovacuum(table, deadlock_timeout) if maybe_autovacuum else ""
        found.append(Blocker(f"process {blocker} ({name}{more}", advice))
    return found


def _against_autovacuum(table: str, deadlock_timeout: int) -> str:
    return (
        "Autovacuum, unless it prevents wraparound, is ended by PostgreSQL for whoever waits longer than "
        f"deadlock_timeout, {deadlock_timeout} ms. What to do: wait until it is done; or give --lock-timeout "
        f"{deadlock_timeout + 500}ms, for which others then wait too; or, until the migration is done, "
        f"ALTER TABLE {table} SET (autovacuum_enabled = off)"
    )


class _Observer(threading.Thread):
    """Looks at the progress of an index build and at who is in the way, over the control session."""

    def __init__(self, control: psycopg.Connection[Any], pid: int, watch: Watch, lock_timeout: int) -> None:
        super().__init__(daemon=True)
        self._control = control
        self._pid = pid
        self._watch = watch
        # Who is in the way is there to be seen for no longer than the lock timeout.
        self._pause = min(LOOK_SECONDS, lock_timeout / 1000 / 4)
        self._ended = threading.Event()
        self.seen: List[Blocker] = []

    def run(self) -> None:
        # Told of a broken session by the main thread, which needs it for more than looking.
        with suppress(psycopg.Error):
            while not self._ended.wait(self._pause):
                self.seen = blockers(self._control, self._pid) or self.seen
                share = value(
                    self._control,
                    "SELECT greatest(blocks_done::float / nullif(blocks_total, 0),"
                    " tuples_done::float / nullif(tuples_total, 0))"
                    " FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s",
                    [self._pid],
                )
                if share is not None:
                    self._watch.progress(min(share, 1.0))

    def stop(self) -> None:
        self._ended.set()
        self.join()


class _Attempt:
    """One go at a transaction: where it is, and what it noted."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.label = ""
        self.noted: Optional[Noted] = None
        self.committing = False


class _Interrupt:
    """Ctrl-C: online, once to stop after the statement under way, twice to cancel it."""

    def __init__(self, watch: Watch, gentle: bool) -> None:
        self.asked = False
        self._watch = watch
        self._gentle = gentle and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> _Interrupt:
        if self._gentle:
            self._former = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._gentle:
            signal.signal(signal.SIGINT, self._former)

    def _handle(self, *signal_and_frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._watch.stopping()


def run(plan: Plan, sessions: Sessions, options: Options, watch: Watch) -> None:
    """Runs every transaction of the plan. Raises Failed; the log then has an entry that says where and why."""
    with _Interrupt(watch, gentle=options.online) as interrupt:
        going = _Run(plan, sessions, options, watch, interrupt)
        try:
            going.go()
        except KeyboardInterrupt as error:
            raise going.given_up() from error
        finally:
            watch.finished()


class _Run:
    """A plan on its way."""

    def __init__(self, plan: Plan, sessions: Sessions, options: Options, watch: Watch, interrupt: _Interrupt) -> None:
        self._plan = plan
        self._sessions = sessions
        self._options = options
        self._watch = watch
        self._interrupt = interrupt
        self._numbers = {step.label: number for number, step in enumerate(plan.steps, start=1)}
        self._announced = ""
        self._started = False
        #: Whether the database is on the way: by this run, or by one before it that was stopped.
        self._on_the_way = (
            plan.found.unfinished == "rollback"
            if plan.operation == "rollback"
            else bool(plan.found.standing.keys() - {"create_migration_log"})
        )

    def go(self) -> None:
        # Only builds of indexes that follow each other can be done side by side.
        for side_by_side, group in groupby(self._plan.transactions, key=self._can_be_shared):
            transactions = list(group)
            if side_by_side:
                self._side_by_side(transactions)
            else:
                for transaction in transactions:
                    self._one(self._sessions.work, transaction)

    def given_up(self) -> Failed:
        """Interrupted while nothing of the plan was under way: while a server was waited for, or the log written."""
        return self._failed(Failed(self._announced or self._plan.operation, _INTERRUPTED, verdict=UNKNOWN))

    def _can_be_shared(self, transaction: Transaction) -> bool:
        return self._options.jobs > 1 and any(step.section.name == "create_index" for step in transaction.steps)

    def _one(self, session: Session, transaction: Transaction) -> None:
        """One transaction, with its entries in the log, whatever comes of it."""
        if self._interrupt.asked:
            raise self._failed(Failed(self._announced, "stopped on request, after the statement that was under way"))
        if transaction.logged and not self._started:
            self._started = True
            self._log_start()
        if transaction.concurrent:
            for step in transaction.steps:
                self._log_concurrent(step)
            self._on_the_way = True  # PostgreSQL commits it piece by piece
        attempt = _Attempt()
        try:
            self._with_retries(session, transaction, attempt)
        except (psycopg.Error, KeyboardInterrupt) as error:
            raise self._failed(self._failure(session, error, attempt, transaction)) from error
        self._on_the_way = True

    def _side_by_side(self, transactions: Sequence[Transaction]) -> None:
        """Builds the indexes of different tables over several sessions; notes them over the first one."""
        builds = [transaction for transaction in transactions if transaction.concurrent]
        notes = {transaction.steps[0].label: transaction for transaction in transactions if not transaction.concurrent}
        by_table: Dict[Optional[str], List[Transaction]] = {}
        for build in builds:
            by_table.setdefault(build.steps[0].table, []).append(build)
        largest_first = sorted(by_table.values(), key=self._rows, reverse=True)
        sessions = self._builders(min(self._options.jobs, len(by_table)), builds[0].steps[0].label)
        idle = list(sessions)
        failures: List[BaseException] = []

        def build_all(queue: List[Transaction]) -> None:
            session = idle.pop()
            try:
                for build in queue:
                    if failures:
                        return
                    self._one(session, build)
                    with lock:
                        self._one(self._sessions.work, notes[build.steps[0].label])
            except BaseException as error:
                failures.append(error)
                raise
            finally:
                idle.append(session)

        lock = threading.Lock()
        try:
            with ThreadPoolExecutor(len(sessions)) as pool:
                pending = {pool.submit(build_all, queue) for queue in largest_first}
                while pending:
                    try:
                        pending = wait(pending, LOOK_SECONDS / 2).not_done  # Ctrl-C gets through between two looks
                    except KeyboardInterrupt:
                        # A build, or what clears up behind one.
                        for session in sessions:
                            session.cancel_safe(timeout=5)
            if failures:
                raise failures[0]
        finally:
            for session in sessions:
                close(session)

    def _builders(self, wanted: int, label: str) -> List[Session]:
        """So many sessions, or as many as the server has to spare."""
        sessions: List[Session] = []
        try:
            while len(sessions) < wanted:
                sessions.append(connect(self._sessions.dsn))
        except ConnectionProblem as problem:
            if not sessions:
                raise self._failed(Failed(label, str(problem))) from problem
        return sessions

    def _rows(self, queue: Sequence[Transaction]) -> int:
        rows: Dict[Optional[str], int] = {table.name: table.rows for table in self._plan.found.tables}
        return rows[queue[0].steps[0].table] * len(queue)

    # A transaction

    def _with_retries(self, session: Session, transaction: Transaction, attempt: _Attempt) -> None:
        began = time.monotonic()
        deadline = began + self._options.give_up_after / 1000
        tries = 0
        seen: List[Blocker] = []
        while True:
            tries += 1
            with self._observed(session) as observer:
                try:
                    self._attempt(session, transaction, attempt)
                except BaseException as error:
                    self._clear(session, transaction)
                    if not isinstance(error, GIVE_WAY) or session.broken:
                        raise
                    conflict = error
                else:
                    return
            seen = observer.seen or seen
            pause = min(LONGEST_PAUSE, self._plan.found.options.lock_timeout / 1000 * 2 ** (tries - 1))
            pause *= random.uniform(0.5, 1.5)  # noqa: S311 - jitter, so that two who give way do not meet again
            where = attempt.label or "locking the tables"
            if self._interrupt.asked or time.monotonic() + pause > deadline:
                who = "; ".join(each.words for each in seen) or "it was gone before it could be seen"
                advice = sorted({each.advice for each in seen if each.advice})
                conflict.__dict__["given_up"] = (
                    f"no lock in {time.monotonic() - began:.1f} s, {tries} tr{'y' if tries == 1 else 'ies'} ({where}). "
                    f"In the way: {'. '.join([who, *advice])}"
                )
                raise conflict
            self._watch.waiting(where, [each.words for each in observer.seen], pause)
            time.sleep(pause)

    def _attempt(self, session: Session, transaction: Transaction, attempt: _Attempt) -> None:
        steps = {step.label: step for step in transaction.steps}
        attempt.begin()
        for statement in transaction.statements:
            if statement.step is not None and statement.step != attempt.label:
                attempt.label = statement.step
                if attempt.label in steps and attempt.label != self._announced:
                    self._announced = attempt.label
                    self._watch.step(steps[attempt.label], self._numbers[attempt.label], len(self._numbers))
            attempt.committing = statement.sql == "COMMIT;"
            cursor = session.execute(statement.sql)
            if statement.noted:
                [attempt.noted] = [Noted(*row) for row in cursor]

    def _clear(self, session: Session, transaction: Transaction) -> None:
        """Ends what failed: the transaction, or what an index build outside of one leaves behind."""
        with suppress(psycopg.Error):
            if session.info.transaction_status not in (pq.TransactionStatus.IDLE, pq.TransactionStatus.UNKNOWN):
                session.execute("ROLLBACK")
            try:
                if transaction.mend is not None and not value(session, transaction.mend.done):
                    self._watch.clearing()
                    session.execute(transaction.mend.statement)
            finally:
                for statement in transaction.closing:
                    session.execute(statement.sql)

    @contextmanager
    def _observed(self, session: Session) -> Iterator[_Observer]:
        lock_timeout = self._plan.found.options.lock_timeout
        observer = _Observer(self._sessions.control, session.process, self._watch, lock_timeout)
        observer.start()
        try:
            yield observer
        finally:
            observer.stop()

    # The log

    def _log_start(self) -> None:
        found = self._plan.found
        details = {
            "mode": self._options.mode,
            "steps": len(self._plan.steps),
            "user": found.user,
            "default_organization": found.default_organization,
        }
        self._sessions.log(self._plan.operation, "started", details)
        if self._plan.operation == "migrate":
            for name in sorted(self._options.skipped_tables | self._options.skipped_indexes):
                self._sessions.log(name, "skipped", {"reason": "left out on purpose"})

    def _log_concurrent(self, step: Step) -> None:
        """Notes that a step outside of a transaction begins: from here on its index is ours, done or not.

        Without the entry a rollback would leave the index there.
        """
        deadline = time.monotonic() + self._options.give_up_after / 1000
        while not self._sessions.log(step.label, "started", {**step.details, "outside_transaction": True}):
            if time.monotonic() > deadline:
                raise self._failed(Failed(step.label, "migration_log cannot be written to"))

    def _failed(self, failed: Failed) -> Failed:
        """The failure with its entries in the log: one for the step, one for the run."""
        failed.online = self._options.online and self._on_the_way
        if not self._started or failed.verdict == UNKNOWN:
            # There is no log yet, or no server to write it to.
            failed.logged = False
            return failed
        details = {"error": failed.stored, "sqlstate": failed.sqlstate, "outcome": failed.verdict}
        operation = self._plan.operation
        failed.logged = failed.label == operation or self._sessions.log(failed.label, "failed", details)
        failed.logged = failed.logged and self._sessions.log(operation, "failed", {**details, "step": failed.label})
        return failed

    def _failure(self, session: Session, error: BaseException, attempt: _Attempt, transaction: Transaction) -> Failed:
        """What failed, and what the server says became of it."""
        message, stored, sqlstate = _INTERRUPTED, "", ""
        if isinstance(error, psycopg.Error):
            given_up, sqlstate = error.__dict__.get("given_up", ""), error.sqlstate or ""
            message, stored = given_up or _in_words(error), given_up or _in_words(error, stored=True)
        verdict = ROLLED_BACK
        dropped = next((step for step in transaction.steps if drops_the_log(step)), None)
        # Of these no entry can tell: an index is tied to none, and with the log each of them goes.
        untold = transaction.steps[0] if transaction.concurrent else dropped
        if session.broken:
            self._watch.disconnected(RECONNECT_SECONDS)
        # What no COMMIT was sent for is gone with the session, also where nobody can be asked.
        if session.broken and untold is not None and (transaction.concurrent or attempt.committing):
            verdict = _verdict_of_step(untold, self._plan.found, session.process, self._sessions)
        elif attempt.committing:
            verdict = _verdict(attempt.noted, self._sessions)
        return Failed(attempt.label or self._plan.operation, message, sqlstate, verdict, stored)


def _in_words(error: psycopg.Error, *, stored: bool = False) -> str:
    """What the server says of an error; ``stored``: without what has values of a row in it, the DETAIL above all."""
    diagnostic = error.diag
    parts = [stored_reason(error) if stored else reason(error)]
    if diagnostic.message_detail and not stored:
        parts.append(diagnostic.message_detail)
    if diagnostic.message_hint and not (stored and quotes_a_value(error)):
        parts.append(f"Hint: {diagnostic.message_hint}")
    if diagnostic.context and isinstance(error, _NOT_FOUND):
        parts.append(
            f"(in {diagnostic.context.splitlines()[-1]}, which is run with an empty search_path: name the schema in "
            "it, or ALTER FUNCTION ... SET search_path)"
        )
    return " ".join(parts)


def _verdict(noted: Optional[Noted], sessions: Sessions) -> str:
    """What became of a transaction whose session broke, read from the server.

    Without an entry in the log nothing can have been committed. With one, the entry is there if and only
    if the transaction was committed, as soon as it is no longer in progress. More than that its id does not
    tell: a server that was killed before anything of the transaction was on disk gives out the same id again,
    and says of it what became of somebody else's.
    """

    def ask(control: psycopg.Connection[Any]) -> Optional[str]:
        if noted is None:
            return ROLLED_BACK
        if _is_in_progress(control, noted.transaction):
            return None
        return COMMITTED if _is_logged(control, noted.entry) else ROLLED_BACK

    return _answer(ask, sessions)


def _verdict_of_step(step: Step, found: Found, pid: int, sessions: Sessions) -> str:
    """What became of a statement outside of a transaction: what the step itself asks, once nobody works on it."""

    def ask(control: psycopg.Connection[Any]) -> Optional[str]:
        # A server process that has lost its client goes on until it notices.
        if value(control, "SELECT pid FROM pg_catalog.pg_stat_activity WHERE pid = %s", [pid]):
            return None
        done = value(control, step.section.render_header("done", found.values(**step.values)))
        return COMMITTED if done else ROLLED_BACK

    return _answer(ask, sessions)


def _answer(ask: Callable[[psycopg.Connection[Any]], Optional[str]], sessions: Sessions) -> str:
    """What the server answers, asked again while it does not know yet or goes away; UNKNOWN if that takes too long."""
    deadline = time.monotonic() + RECONNECT_SECONDS
    while time.monotonic() < deadline:
        control = sessions.usable_control(deadline - time.monotonic())
        if control is None:
            return UNKNOWN
        try:
            answer = ask(control)
        except psycopg.OperationalError:
            continue
        if answer is not None:
            return answer
        time.sleep(LOOK_SECONDS)
    return UNKNOWN


def _is_in_progress(connection: psycopg.Connection[Any], transaction: int) -> bool:
    try:
        status = value(connection, "SELECT pg_catalog.txid_status(%s)", [transaction])
    except errors.InvalidParameterValue:
        # After a failover to a standby that never heard of it the id is "in the future".
        return False
    return bool(status == "in progress")


def _is_logged(connection: psycopg.Connection[Any], entry: int) -> bool:
    try:
        return bool(
            value(
                connection,
                "SELECT EXISTS (SELECT FROM public.migration_log WHERE id = %s AND status = 'completed')",
                [entry],
            )
        )
    except errors.UndefinedTable:
        return False
