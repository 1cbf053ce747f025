"""The old application at work: its statements at a fixed rate, and a twin that remembers what was acknowledged.

An open loop: each statement is due at a moment of its own, whether the ones before it are answered or not, and
its latency counts from then. A closed loop would wait out a stall, and so not see it.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.application.statements import OLD_STATEMENTS, Statement, run
from tests.plugins.database import OWNER, Database

#: Of the application's statements those that find their rows however often they are run.
_AGAIN = ("insert", "positional_insert", "upsert", "update", "select", "aggregate", "copy")


@dataclass(frozen=True)
class Answer:
    """A statement and what came of it: when it was due and when it was answered, in seconds of the workload."""

    name: str
    due: float
    answered: float
    error: str

    @property
    def latency(self) -> float:
        """Seconds from when it was due."""
        return self.answered - self.due


class Workload:
    """Runs from the beginning of a ``with`` block to its end.

    ``rate`` is in statements a second, spread over ``connections`` sessions, which do without prepared
    statements, as a pool does.
    """

    def __init__(self, database: Database, *, rate: float = 100.0, connections: int = 8) -> None:
        self._rate = rate
        self._numbers = itertools.count()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._sessions = [database.connect(OWNER, prepare_threshold=None) for _ in range(connections)]
        self._statements = [each for each in OLD_STATEMENTS[database.variant] if each.name.startswith(_AGAIN)]
        [(upload,)] = database.query("SELECT id::text FROM public.uploads ORDER BY id LIMIT 1")
        self._upload = str(upload)
        self._threads = [threading.Thread(target=self._work, args=[session]) for session in self._sessions]
        self.answers: list[Answer] = []
        #: What the server has said it has: the ids of rows, and how often a counter was raised.
        self.inserted: set[str] = set()
        self.raised = 0

    def __enter__(self) -> Workload:
        [(self._before,)] = self._sessions[0].execute(
            "SELECT rows_processed FROM public.uploads WHERE id = %s", [self._upload]
        )
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def failures(self) -> Counter[str]:
        """The statements that failed, with their SQLSTATE."""
        return Counter(f"{each.name}: {each.error}" for each in self.answers if each.error)

    def lost(self, session: psycopg.Connection[Any]) -> list[str]:
        """What was acknowledged and is not there."""
        return _lost(session, self.inserted, self._upload, self.raised, self._before)

    def _work(self, session: psycopg.Connection[Any]) -> None:
        while not self._ended.is_set():
            number = next(self._numbers)
            due = number / self._rate
            if self._ended.wait(max(0.0, due - self.now)):
                return
            name, error = "", ""
            try:
                name = self._say(session, number)
            except psycopg.Error as failed:
                error = failed.sqlstate or type(failed).__name__
            answer = Answer(name or self._name(number), due, self.now, error)
            with self._lock:
                self.answers.append(answer)

    def _name(self, number: int) -> str:
        return ("twin_inserts", "twin_updates")[number % 4] if number % 4 < 2 else self._statement(number).name

    def _statement(self, number: int) -> Statement:
        return self._statements[(number // 4 * 2 + number % 2) % len(self._statements)]

    def _say(self, session: psycopg.Connection[Any], number: int) -> str:
        """Every other statement is one that the twin keeps count of."""
        name = self._name(number)
        if name == "twin_inserts":
            row = str(uuid.uuid4())
            session.execute("INSERT INTO public.email_logs (id, recipient) VALUES (%s, 'twin')", [row])
            with self._lock:
                self.inserted.add(row)
        elif name == "twin_updates":
            session.execute(
                "UPDATE public.uploads SET rows_processed = rows_processed + 1 WHERE id = %s", [self._upload]
            )
            with self._lock:
                self.raised += 1
        else:
            run(session, self._statement(number))
        return name


def _lost(session: psycopg.Connection[Any], inserted: set[str], upload: str, raised: int, before: int) -> list[str]:
    there = {str(row) for (row,) in session.execute("SELECT id FROM public.email_logs WHERE recipient = 'twin'")}
    [(counted,)] = session.execute("SELECT rows_processed FROM public.uploads WHERE id = %s", [upload])
    missing = [f"email_logs {row}" for row in sorted(inserted - there)]
    if counted - before < raised:
        missing.append(f"{raised} updates of an upload, of which {counted - before} are there")
    return missing


class Writer:
    """One session that writes as fast as it is answered, through restarts of the server, and remembers what was.

    Runs from the beginning of a ``with`` block to its end. What was under way when the server went away may be
    there or not: nobody was told.
    """

    TABLES = ("email_logs", "uploads")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._upload, self._before = database.query(
            "SELECT id::text, rows_processed FROM public.uploads ORDER BY id LIMIT 1"
        )[0]
        self.inserted: set[str] = set()
        self.raised = 0
        self.failures: Counter[str] = Counter()

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def lost(self) -> list[str]:
        """What was acknowledged and is not there."""
        with self._database.server.connect(self._database.name) as session:
            return _lost(session, self.inserted, self._upload, self.raised, self._before)

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                with self._database.server.connect(self._database.name, OWNER, prepare_threshold=None) as session:
                    while not self._ended.wait(0.002):
                        self._write(session)
            except psycopg.OperationalError as error:
                # The server is on its way down or up; what holds a lock for long is none of that.
                if isinstance(error, (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)):
                    self.failures[type(error).__name__] += 1
                self._ended.wait(0.01)
            except psycopg.Error as error:
                self.failures[type(error).__name__] += 1

    def _write(self, session: psycopg.Connection[Any]) -> None:
        row = str(uuid.uuid4())
        session.execute("INSERT INTO public.email_logs (id, recipient) VALUES (%s, 'twin')", [row])
        self.inserted.add(row)
        session.execute("UPDATE public.uploads SET rows_processed = rows_processed + 1 WHERE id = %s", [self._upload])
        self.raised += 1
