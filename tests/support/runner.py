"""The runner as the tests run it: in this process, where it is quick, or as a program of its own."""

from __future__ import annotations

import codecs
import io
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import migrate
from tests.plugins.database import OWNER, Database
from tests.support.embedded import client_program
from tests.support.watchdog import REPOSITORY

#: The variables that say where a database is; a test that means to set one starts without them.
WHERE = ("DATABASE_URL", "SUPABASE_DB_", "SUPABASE_SERVICE_ROLE_", "PG")
_PATIENCE = 20.0  # seconds without a word from the program


@dataclass(frozen=True)
class Run:
    """How a run has ended, and what it has said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The result of a run with ``--json``; raises ValueError where standard output is anything else."""
        result: dict[str, Any] = json.loads(self.out)
        return result

    @property
    def findings(self) -> list[dict[str, str]]:
        """The findings of a run with ``--json``, of the checks before it and of those after it."""
        return [*self.json.get("findings", []), *self.json.get("report", {}).get("findings", [])]

    def of(self, check: str) -> list[dict[str, str]]:
        """The findings of one check, each once."""
        return [
            each
            for number, each in enumerate(self.findings)
            if each["check"] == check and each not in self.findings[:number]
        ]


def run(*arguments: str) -> Run:
    """Runs the command line in this process; there is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = migrate.main(arguments)
    return Run(status, out.getvalue(), err.getvalue())


def start(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    directory: Path = REPOSITORY,
    flags: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """Starts ``python migrate.py``, or a copy of it, with pipes and no terminal; the caller waits for it.

    The ``flags`` are Python's own.
    """
    return subprocess.Popen(
        [sys.executable, *flags, "migrate.py", *arguments],
        cwd=directory,
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=_as_from_a_terminal,  # noqa: PLW1509 - it calls nothing that another thread could hold
    )


def at_a_terminal(
    *arguments: str,
    answers: Sequence[str],
    environment: Mapping[str, str],
    directory: Path = REPOSITORY,
    meanwhile: Callable[[], object] | None = None,
) -> tuple[int, str]:
    """Runs the program on a terminal and answers its questions in turn; returns its exit code and what it said.

    What is to be done ``meanwhile`` is done while the first question stands.
    """
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "migrate.py", *arguments],
        cwd=directory,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=dict(environment),
    )
    os.close(terminal)
    said, waiting = "", list(answers)
    decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end in the middle of a character
    with suppress(OSError):  # which is how a terminal says that nobody is there any more
        while select.select([controller], [], [], _PATIENCE)[0]:
            got = os.read(controller, 4096)
            if not got:
                break
            part = decoder.decode(got)
            said += part
            if waiting and ("[y/N] " in part or "to go on: " in part):
                if meanwhile is not None and len(waiting) == len(answers):
                    meanwhile()
                os.write(controller, f"{waiting.pop(0)}\n".encode())
    os.close(controller)
    return process.wait(_PATIENCE), said


def copied(directory: Path) -> Path:
    """Copies what a certificate is about, the runner and its SQL, into a new directory."""
    directory.mkdir()
    for name in ("sql", "phase_1"):
        shutil.copytree(REPOSITORY / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "migrate.py", directory)
    return directory


def without_python() -> dict[str, str]:
    """The environment without what says to Python where modules are: a copy finds nothing but itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def by_psql(database: Database, script: str) -> None:
    """Runs a script as the owner of the tables, by PostgreSQL's own client."""
    done = subprocess.run(
        [client_program("psql"), "--no-psqlrc", "--quiet", database.server.dsn_without_password(database.name, OWNER)],
        input=script,
        env={**os.environ, "PGPASSWORD": OWNER, "PGCLIENTENCODING": "UTF8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def _as_from_a_terminal() -> None:
    """Ctrl-C and a hang-up are heard: what a CI starts in the background, or nohup, inherits that they are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
