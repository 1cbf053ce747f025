"""Faults on the way of a run: what strikes, at which of its statements, and at which moment of it."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg

from phase_1.inventory import TABLES
from phase_1.plan import BEGIN
from tests.application.load import VARIANTS
from tests.plugins.database import OWNER
from tests.plugins.server import Server
from tests.support.disk import Disk
from tests.support.proxy import Proxy, Statement

#: What can strike. The last two stop the runner until the application gets at its tables again.
STRIKES = {
    "terminate": "its backend is terminated",
    "cancel": "the statement is cancelled",
    "cut": "the connection is cut",
    "server": "the server is killed with SIGKILL and restarted",
    "failover": "the server is killed with SIGKILL, and its standby promoted",
    "runner": "the runner is killed with SIGKILL",
    "hangup": "the terminal is closed: the runner is sent SIGHUP",
    "thaw": "the runner is frozen with SIGSTOP, and continued",
    "stuck": "the runner is frozen with SIGSTOP, and killed",
}
#: What fails a system call of the backend that migrates, the first of that number from the first BEGIN on; its
#: moment is the call and the error. It is drawn for itself, since it takes strace.
CALL = "call"
#: The calls by which a backend gets at its files, and what each can fail with.
CALLS = {
    "openat": ("EIO", "ENOSPC"),
    "pwrite64": ("EIO", "ENOSPC"),
    "pwritev": ("EIO", "ENOSPC"),
    "fallocate": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO", "ENOSPC"),
    "pread64": ("EIO",),
    "preadv": ("EIO",),
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "rename": ("EIO", "ENOSPC"),
}
#: What is left of the server's disk until the run has ended, ``delay`` in kB; drawn for itself, since it takes root.
FILLS = {
    "full": "the disk is full",
    "full-wal": "the disk is full, and the segment of the WAL is at its end",
}
#: Points of failure, and how many of a hundred are of that kind.
KINDS = {
    **STRIKES,
    "reply": "the reply to COMMIT is lost",
    "several": "up to three of these on top of each other",
}
SHARES = {
    "terminate": 23,
    "cancel": 6,
    "cut": 18,
    "server": 12,
    "failover": 1,
    "runner": 10,
    "hangup": 2,
    "thaw": 1,
    "stuck": 1,
    "reply": 10,
    "several": 16,
}
MOMENTS = ("before", "while", "after")
#: Those that only a program of its own can be struck by.
_OF_A_PROGRAM = ("runner", "hangup", "thaw", "stuck")

OPERATIONS = {"migrate": (), "rollback": ("--rollback",)}
MODES = {"transactional": (), "online": ("--online",)}

#: What the runner says now and then, and not at a place of its own: it counts for nothing.
_LOOKS = ("pg_blocking_pids", "pg_stat_progress_create_index")
#: The statements that most of the points are at: the others, settings for the most part, are many and alike.
_DOES_SOMETHING = re.compile(r"CREATE|ALTER|DROP|INSERT|REVOKE|GRANT|ANALYZE|UPDATE|DELETE|LOCK|COMMIT")
_AT_SOMETHING = 0.75
#: The longest that a strike waits while its statement runs, in milliseconds: most are done by then.
_WHILE = 4.0
#: The most that is left of a disk that is full, in kB: what a run takes of it.
_LEFT = 400.0
#: How many statements a failure is dealt with in, at the most: where the next fault strikes every other time.
_AFTERMATH = 8
#: How long a backend may take to end, in seconds: far longer than it ever does.
_PATIENCE = 20.0
#: How long the application may wait for a runner that is frozen: what the migration sets for a transaction that
#: is idle, and time for seven statements on a busy machine.
LONGEST_FREEZE = 3.0 + 2.0


@dataclass(frozen=True)
class Fault:
    """``number`` counts the statements of the runs, each fault's from the one before it; ``delay`` is in ms.

    Of a disk that is full it is what is left, in kB.
    """

    strike: str
    number: int
    moment: str
    delay: float = 0.0

    def __str__(self) -> str:
        return f"{self.strike}@{self.number}:{self.moment}" + (f":{self.delay}" if self.delay else "")

    @classmethod
    def read(cls, text: str) -> Fault:
        """The fault that is written so. Raises ValueError."""
        strike, _, rest = text.partition("@")
        number, moment, *delay = rest.split(":")
        if strike != CALL and (strike not in (*STRIKES, *FILLS) or moment not in MOMENTS):
            raise ValueError(f"{text}: write it as one of {', '.join((*STRIKES, *FILLS))}, as in cut@17:before")
        return cls(strike, int(number), moment, float(delay[0]) if delay else 0.0)


@dataclass(frozen=True)
class Point:
    """A run of one variant, the faults that strike it, whether a writer is at work, and the runs after it.

    ``then`` are operations in the mode ``later``; the last but one may be the same again.
    """

    variant: str
    operation: str
    mode: str
    faults: tuple[Fault, ...]
    then: tuple[str, ...]
    later: str
    writer: bool

    def __str__(self) -> str:
        return " ".join(
            [
                self.variant,
                self.operation,
                self.mode,
                ",".join(map(str, self.faults)),
                ",".join(self.then),
                self.later,
                "writer" if self.writer else "alone",
            ]
        )

    @classmethod
    def read(cls, text: str) -> Point:
        """The point that is written so. Raises ValueError."""
        try:
            variant, operation, mode, faults, then, later, writer = text.split()
        except ValueError:
            raise ValueError(f"{text!r}: a point has seven words") from None
        if not (variant in VARIANTS and {operation, *then.split(",")} <= {*OPERATIONS} and {mode, later} <= {*MODES}):
            raise ValueError(f"{text!r} is not a point")
        struck = tuple(Fault.read(each) for each in faults.split(","))
        return cls(variant, operation, mode, struck, tuple(then.split(",")), later, writer == "writer")

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of the command line of the run."""
        return (*OPERATIONS[self.operation], *MODES[self.mode])

    @property
    def of_a_program(self) -> bool:
        """Whether the run has to be a process."""
        return any(fault.strike in _OF_A_PROGRAM for fault in self.faults)


#: The statements of a whole run of a variant, an operation and a mode.
Course = Callable[[str, str, str], Sequence[str]]


def draw(seed: int, kind: str, operation: str, mode: str, index: int, course: Course) -> Point:
    """A point of that kind: for the same arguments the same one."""
    # The index last: what differs in the others does not depend on how many points there are.
    drawn = random.Random(f"{seed} {kind} {operation} {mode} {index}")  # noqa: S311 - a sample, not a secret
    variant = drawn.choice(VARIANTS)
    statements = course(variant, operation, mode)
    if kind == "reply":
        commits = [number for number, sql in enumerate(statements, start=1) if sql == "COMMIT;"]
        faults = [Fault("cut", drawn.choice(commits), "after")]
    elif kind == "several":
        strikes = drawn.choices(["terminate", "cancel", "cut", "server", "runner"], k=drawn.choice([2, 3]))
        faults = [_fault(drawn, strikes[0], statements)]
        for strike in strikes[1:]:
            following = _fault(drawn, strike, statements)
            if drawn.random() < 0.5:  # while the one before it is being dealt with
                following = Fault(strike, drawn.randint(1, _AFTERMATH), following.moment, following.delay)
            faults.append(following)
    else:
        faults = [_fault(drawn, kind, statements)]
    back = "rollback" if operation == "migrate" else "migrate"
    then = drawn.choice([(operation,), (back,), (operation, back)])
    later = mode if drawn.random() < 0.75 else drawn.choice(list(MODES))
    return Point(variant, operation, mode, tuple(faults), then, later, len(faults) > 1 or drawn.random() < 0.5)


def draw_calls(seed: int, operation: str, mode: str, count: int, made: Counter[str]) -> list[Point]:
    """So many points at which a system call fails, or one for each call and error if there are fewer."""
    drawn = random.Random(f"{seed} {CALL} {operation} {mode}")  # noqa: S311 - a sample, not a secret
    every = [
        Fault(CALL, number, f"{name}/{error}")
        for name, errors in CALLS.items()
        for error in errors
        for number in range(1, made[name] + 1)
    ]
    back = "rollback" if operation == "migrate" else "migrate"
    return [
        Point("founding", operation, mode, (fault,), drawn.choice([(operation,), (back,)]), mode, writer=False)
        for fault in drawn.sample(every, min(count, len(every)))
    ]


def _fault(drawn: random.Random, strike: str, statements: Sequence[str]) -> Fault:
    numbers = range(1, len(statements) + 1)
    if drawn.random() < _AT_SOMETHING:
        numbers = [number for number in numbers if _DOES_SOMETHING.match(statements[number - 1])]  # type: ignore[assignment]
    if strike in FILLS:
        return Fault(strike, drawn.choice(numbers), "before", round(drawn.uniform(0, _LEFT)))
    # What is idle is not cancelled.
    moment = "while" if strike == "cancel" else drawn.choice(MOMENTS)
    return Fault(
        strike, drawn.choice(numbers), moment, round(drawn.uniform(0, _WHILE), 2) if moment == "while" else 0.0
    )


class Saboteur:
    """Strikes the runs that go through a proxy, one fault after the other, whichever run it comes to.

    ``process`` is the run, where it is a program. ``struck`` are the faults with their statements, ``course``
    the statements that were counted, ``waits`` how long the application waited for its tables while the runner
    was frozen.
    """

    def __init__(self, proxy: Proxy, server: Server, name: str, faults: Sequence[Fault]) -> None:
        self._proxy = proxy
        self._server = server
        self._name = name
        self._faults = list(faults)
        self._left = self._faults[0].number if self._faults and self._faults[0].strike != CALL else 0
        self._awaited: tuple[Statement, Fault] | None = None
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._restarting = threading.Lock()
        self.process: subprocess.Popen[str] | None = None
        self.struck: list[tuple[Fault, str]] = []
        self.course: list[str] = []
        self.waits: list[float] = []
        self.errors: list[BaseException] = []
        self._tracer: subprocess.Popen[str] | None = None
        #: Where strace writes down the system calls of the working session, if it is to.
        self.calls: Path | None = None
        #: What the server has its data on, where that can be filled.
        self.disk: Disk | None = None
        proxy.before(self._before)
        proxy.after(self._after)

    @property
    def done(self) -> bool:
        """Whether every fault has struck."""
        return not self._faults

    def settle(self) -> None:
        """Waits for what strikes beside the run; raises what went wrong there."""
        for thread in self._threads:
            thread.join()
        if self._tracer is not None:
            # With its process, or without.
            self._tracer.terminate()
            self._tracer.communicate(timeout=_PATIENCE)
        if self.errors:
            raise self.errors[0]

    def _before(self, statement: Statement) -> Literal["cut"] | None:
        if any(look in statement.sql for look in _LOOKS):
            return None
        with self._lock:
            self.course.append(statement.sql)
            if statement.sql == BEGIN and self._tracer is None:
                self._trace(self._proxy.pid(statement.connection))
            self._left -= 1
            if self._left or not self._faults:
                return None
            fault = self._faults.pop(0)
            self._left = self._faults[0].number if self._faults else 0
            self.struck.append((fault, statement.sql.splitlines()[0]))
            if fault.moment == "after":
                self._awaited = statement, fault
                return None
        if fault.moment == "before":
            return self._strike(fault, statement)
        thread = threading.Thread(target=self._beside, args=(fault, statement))
        thread.start()
        self._threads.append(thread)
        return None

    def _trace(self, pid: int) -> None:
        """Has strace look at the calls of a server process, or fail one of them."""
        if self.calls is not None:
            options = ["-e", f"trace={','.join(CALLS)}", "-o", str(self.calls)]
        elif self._faults and self._faults[0].strike == CALL:
            fault = self._faults.pop(0)
            name, _, error = fault.moment.partition("/")
            options = [
                "-e",
                f"trace={name}",
                "-e",
                f"inject={name}:error={error}:when={fault.number}",
                "-o",
                os.devnull,
            ]
            self.struck.append((fault, name))
        else:
            return
        self._tracer = subprocess.Popen(["strace", "-p", str(pid), *options], stderr=subprocess.PIPE, text=True)
        status, deadline = Path(f"/proc/{pid}/status"), time.monotonic() + _PATIENCE
        while f"TracerPid:\t{self._tracer.pid}\n" not in status.read_text():
            assert self._tracer.poll() is None, self._tracer.communicate()[1]
            assert time.monotonic() < deadline, "strace does not attach"

    def _after(self, statement: Statement) -> Literal["cut"] | None:
        with self._lock:
            if self._awaited is None or statement != self._awaited[0]:
                return None
            fault, self._awaited = self._awaited[1], None
        return self._strike(fault, statement)

    def _beside(self, fault: Fault, statement: Statement) -> None:
        time.sleep(fault.delay / 1000)
        try:
            if self._strike(fault, statement) == "cut":
                self._proxy.cut(statement.connection)
        except BaseException as error:
            self.errors.append(error)

    def _strike(self, fault: Fault, statement: Statement) -> Literal["cut"] | None:
        if fault.strike in ("server", "failover"):
            # What comes back differs with the server, which is one of a pair for a failover.
            with self._restarting:
                self._server.kill()
                self._server.restart()
        elif fault.strike in FILLS:
            assert self.disk is not None
            self._keep_from_making_space(ends=fault.strike == "full-wal")
            self.disk.fill(int(fault.delay) * 1024)
            return None
        elif fault.strike in ("terminate", "cancel"):
            self._signal(fault, self._proxy.pid(statement.connection))
            return None
        elif fault.strike in _OF_A_PROGRAM:
            assert self.process is not None
            if fault.strike in ("thaw", "stuck"):
                self.process.send_signal(signal.SIGSTOP)
                self.waits.append(self._reads())
            if fault.strike == "thaw":
                self.process.send_signal(signal.SIGCONT)
                return None
            self.process.send_signal(signal.SIGHUP if fault.strike == "hangup" else signal.SIGKILL)
        return "cut"

    def _keep_from_making_space(self, *, ends: bool) -> None:
        """Has the server remove now what it would remove while the disk is full.

        With ``ends`` it is left without a segment of the WAL that it could go on in.
        """
        spare = "SELECT FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(%s::pg_lsn)"
        with self._server.connect(application_name="suite") as connection:
            connection.execute("CHECKPOINT")
            while ends:
                [(position,)] = connection.execute("SELECT pg_switch_wal()")
                if not connection.execute(spare.encode(), [position]).fetchall():
                    return
                connection.execute("SELECT txid_current()")  # what has written nothing is not ended

    def _signal(self, fault: Fault, pid: int) -> None:
        function = "pg_cancel_backend" if fault.strike == "cancel" else "pg_terminate_backend"
        # The server may be on its way down by another fault.
        with suppress(psycopg.OperationalError), self._server.connect(application_name="suite") as connection:
            connection.execute(f"SELECT {function}(%s)".encode(), [pid])
            deadline = time.monotonic() + _PATIENCE
            while fault.strike == "terminate" and fault.moment != "while" and _is_there(connection, pid):
                assert time.monotonic() < deadline, f"process {pid} does not end"

    def _reads(self) -> float:
        """How long the application waits to read each of its tables, in seconds."""
        began = time.monotonic()
        with self._server.connect(self._name, OWNER, application_name="application") as connection:
            connection.execute(f"SET statement_timeout = '{1000 * _PATIENCE:.0f}ms'".encode())
            for table in TABLES:
                connection.execute(f"SELECT FROM public.{table.name} LIMIT 1".encode())
        return time.monotonic() - began


def _is_there(connection: psycopg.Connection[Any], pid: int) -> bool:
    return connection.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is not None
