"""Runs tests on a copy of the project in which one thing was changed: who tests the tests.

What a run of pytest costs before its first test, the imports, a server and the application in it, is paid once
for each worker: a run is a fork of the worker, on the worker's server. What is under test, the SQL and the
runner, is read anew from the changed copy in every run.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest

from tests.plugins.certificate import CLAIM
from tests.support.certificate import ROOT, subject, suite
from tests.support.embedded import Cluster

PASSED, FAILED, TIMEOUT, BROKEN = "passed", "failed", "timeout", "broken"

#: What a copy of the project holds.
_TREE = (
    "conftest.py",
    "docs",
    "migrate.py",
    "phase_1",
    "pyproject.toml",
    "sql",
    "tests",
    "README.md",
    "migration_plan.md",
)
#: Modules of the project: a fork forgets them, and imports those of its copy.
_OURS = ("conftest", "migrate", "phase_1", "tests")
#: What every run would import again.
_HEAVY = (
    "_hypothesis_pytestplugin",
    "hypothesis.stateful",
    "jinja2",
    "jsonschema",
    "psycopg.conninfo",
    "pytest_benchmark.plugin",
    "rich.console",
    "rich.progress",
    "rich.table",
    "xdist.plugin",
)
_KEPT = "phase1_kept"  # the prefix of the application's databases, which the runs of a worker share
_MESSAGE = 30_000  # characters of a failure: enough for the rows of a comparison


class ChangeError(ValueError):
    """A change cannot be made: its old text is not in the file, or more than once."""


@dataclass(frozen=True)
class Change:
    """One edit of one file; ``old`` has to be in it exactly once."""

    file: str
    old: str
    new: str

    def apply(self, tree: Path) -> None:
        """Makes the change in a copy of the project. Raises ChangeError where it cannot be made."""
        path = tree / self.file
        text = self.made(path.read_text(encoding="utf-8"))
        # The copy is made of hard links: the file that they share stays as it is.
        path.unlink()
        path.write_text(text, encoding="utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def made(self, text: str) -> str:
        """The text with the change. Raises ChangeError as above."""
        count = text.count(self.old)
        if count != 1:
            raise ChangeError(f"{self.file}: {count} times instead of once: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Job:
    """A change, and the tests that it is to be seen by, until the first of them fails.

    ``paths`` are what pytest collects. With ``claim`` only its tests are run, with ``tests`` only those of these
    ids, in their order. ``first`` says which are run first: those whose ids contain the first of these texts, then
    the second's …; then come the ``others``, unless they are left out, or there is nothing else to be run.
    """

    name: str
    changes: tuple[Change, ...]
    paths: tuple[str, ...] = ("tests/certification",)
    claim: str = ""
    tests: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    others: Literal["afterwards", "never", "only"] = "afterwards"
    #: Of the others, which come last, in the same way.
    last: tuple[str, ...] = ()
    #: Seconds without a test that ends, after which the run is given up.
    patience: float = 120.0
    #: Seconds after which the run is ended between two tests, and has seen nothing.
    limit: float = 3_600.0


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    ``passed``: no test failed. ``failed``: ``test`` failed, in its ``phase`` (setup, call, teardown).
    ``timeout``: ``test`` was the last that had begun. ``broken``: no test could be run.
    """

    outcome: str
    test: str = ""
    phase: str = ""
    claims: tuple[str, ...] = ()
    message: str = ""
    seconds: float = 0.0
    #: How many tests passed.
    ran: int = 0


def run_all(jobs: Iterable[Job], processes: int = 2) -> Iterator[tuple[Job, Outcome]]:
    """Runs the jobs side by side, and yields each with what became of it, as they end."""
    with tempfile.TemporaryDirectory(prefix="phase_1_sabotage_") as directory:
        pristine = Path(directory) / "pristine"
        _copy(ROOT, pristine, shutil.copy2)
        _compile(pristine)
        context = get_context("fork")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_warm_up, initargs=(pristine,)) as pool:
            waiting = {pool.submit(_run, job): job for job in jobs}
            try:
                for ended in as_completed(waiting):
                    yield waiting[ended], ended.result()
            finally:
                for future in waiting:
                    future.cancel()


def _copy(source: Path, target: Path, how: Callable[[str, str], Any]) -> None:
    target.mkdir()
    for name in _TREE:
        path = source / name
        if path.is_dir():
            shutil.copytree(path, target / name, copy_function=how)
        else:
            how(str(path), str(target / name))


def _compile(tree: Path) -> None:
    """Has pytest write what it makes of the tests: each copy has it then, and half of the start of a run is saved."""
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "--quiet",
        "--numprocesses=0",
        "-p",
        "no:cacheprovider",
    ]
    subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=False)


class _Worker:
    """A process that forks the runs: what they share."""

    def __init__(self, pristine: Path) -> None:
        self.pristine = pristine
        self.cluster = Cluster.create()
        self.runs = 0
        for name in _HEAVY:
            import_module(name)


_worker: _Worker | None = None


def _warm_up(pristine: Path) -> None:
    global _worker  # noqa: PLW0603 - a pool has no other place for what belongs to a process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the one who asked for the runs
    _worker = _Worker(pristine)


def _run(job: Job) -> Outcome:
    """Forks a run on a copy with the change, and waits until it ends or hangs."""
    assert _worker is not None
    _worker.runs += 1
    tree = _worker.pristine.parent / f"{os.getpid()}_{_worker.runs}"
    started = time.monotonic()
    # Links: a copy of a copy costs as little as that.
    _copy(_worker.pristine, tree, os.link)
    for change in job.changes:
        change.apply(tree)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_pytest(tree, job, writing, _worker.cluster.superuser_dsn)
    os.close(writing)
    try:
        return _listen(job, reading, child, started)
    finally:
        os.close(reading)
        # What a run that was killed has started is cleared up from its copy.
        if _end(child):
            shutil.rmtree(tree, ignore_errors=True)


def _listen(job: Job, pipe: int, child: int, started: float) -> Outcome:
    """Reads what the run says, one JSON object a line, until it ends or says nothing for too long."""
    rest, begun, ran = b"", "", 0
    while True:
        said_nothing = not select.select([pipe], [], [], job.patience)[0]
        seconds = round(time.monotonic() - started, 1)
        if said_nothing:
            message = f"no test ended for {job.patience:g} s"
            return Outcome(TIMEOUT, begun, "", (), message, seconds, ran)
        block = os.read(pipe, 65536)
        if not block:
            return Outcome(BROKEN, begun, message="the run ended without a word", seconds=seconds, ran=ran)
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if said["event"] == "begun":
                begun = said["test"]
            elif said["event"] == "passed":
                ran += 1
                if seconds > job.limit:
                    return Outcome(PASSED, message=f"ended after {job.limit:g} s", seconds=seconds, ran=ran)
            elif said["event"] == "ended":
                outcome = PASSED if ran and said["status"] == 0 else BROKEN
                message = "" if outcome == PASSED else f"pytest ended with {said['status']}, {ran} tests passed"
                return Outcome(outcome, message=message, seconds=seconds, ran=ran)
            else:
                where = (said.get("test", ""), said.get("phase", ""), tuple(said.get("claims", ())))
                return Outcome(said["event"], *where, said["message"], seconds, ran)


def _end(child: int) -> bool:
    """Whether the run ends by itself; else kills it, its group, and nobody waits for what it has still to do."""
    for _ in range(250):
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.02)  # it is closing its connections; what is left after five seconds hangs
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _be_pytest(tree: Path, job: Job, pipe: int, dsn: str) -> NoReturn:
    """Becomes the run; never returns."""
    status = 3
    try:
        os.setsid()
        os.chdir(tree)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
            del sys.modules[name]
        sys.path[:] = [str(tree), *(each for each in sys.path if each and Path(each).resolve() != ROOT)]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        arguments = [*job.paths, "-x", "-q", "--numprocesses=0", "-p", "no:cacheprovider"]
        arguments += [f"--dsn={dsn}", f"--keep-templates={_KEPT}", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        arguments += ["-o", "verbosity_assertions=2"]  # whole comparisons, as where CI is set
        status = int(pytest.main(arguments, plugins=[_Reporter(job, pipe)]))
    except BaseException as error:
        _tell(pipe, event=BROKEN, message=f"{type(error).__name__}: {error}")
    finally:
        try:
            _tell(pipe, event="ended", status=status)
        finally:
            os._exit(status)  # on no way back into the worker


def _tell(pipe: int, **what: Any) -> None:
    with suppress(BrokenPipeError):  # after the first failure nobody listens
        os.write(pipe, json.dumps(what).encode() + b"\n")


class _Reporter:
    """The plugin of a run: selects and sorts its tests, and says what becomes of them."""

    def __init__(self, job: Job, pipe: int) -> None:
        self._job = job
        self._pipe = pipe

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._job.claim:
            items[:] = [item for item in items if (CLAIM, self._job.claim) in item.user_properties]
        if self._job.tests:
            places = {test: number for number, test in enumerate(self._job.tests)}
            items[:] = sorted((item for item in items if item.nodeid in places), key=lambda item: places[item.nodeid])
        first = [(place, item) for item in items if (place := _place(item, self._job.first)) is not None]
        others = [(_place(item, self._job.last), item) for item in items if _place(item, self._job.first) is None]
        items.clear()
        if self._job.others != "only":
            items += [item for _, item in sorted(first, key=lambda each: each[0])]
        if self._job.others != "never":
            items += [item for _, item in sorted(others, key=lambda each: -1 if each[0] is None else each[0])]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _tell(self._pipe, event="begun", test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        claims = [value for name, value in report.user_properties if name == CLAIM]
        if report.failed:
            message = _message(report)
            _tell(self._pipe, event=FAILED, test=report.nodeid, phase=report.when, claims=claims, message=message)
        elif report.passed and report.when == "call":
            _tell(self._pipe, event="passed", test=report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            _tell(self._pipe, event=BROKEN, test=report.nodeid, message=_message(report))

    def pytest_internalerror(self, excrepr: object) -> None:
        _tell(self._pipe, event=BROKEN, message=str(excrepr)[-_MESSAGE:])


def _place(item: pytest.Item, texts: tuple[str, ...]) -> int | None:
    return next((place for place, text in enumerate(texts) if text in item.nodeid), None)


def _message(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What pytest says of a failure: the lines that it marks with E, without the source around them."""
    lines = re.findall(r"^E  ?(.*)$", report.longreprtext, re.MULTILINE)
    return "\n".join(line.removeprefix("    ").rstrip() for line in lines)[:_MESSAGE] or report.longreprtext[-_MESSAGE:]


def require(changes: Iterable[Change]) -> None:
    """Raises ChangeError unless each change can be made in the project as it is; nothing is written."""
    for change in changes:
        change.made((ROOT / change.file).read_text(encoding="utf-8"))


def write_report(name: str, report: Mapping[str, Any]) -> None:
    """Writes ``reports/<name>.json`` with the digests of what it is about."""
    path = ROOT / "reports" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    whole = {"created": created, "subject": subject(), "suite": suite(), **report}
    path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {path}")
