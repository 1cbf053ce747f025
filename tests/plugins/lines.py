"""Notes which lines of the runner each test executes, for tests/support/lines.py, which alone loads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.plugins import database
from tests.support.certificate import ROOT
from tests.support.lines import TARGET


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.pluginmanager.register(_Notes(Path(os.environ[TARGET]) / f"{worker['workerid']}.json"))


class _Notes:
    """What a worker's tests execute themselves, and what is executed once for each that uses it."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[str(ROOT / "migrate.py"), str(ROOT / "phase_1" / "*")]
        )
        #: The test that is run, or what is made for it and others.
        self._now = ""
        self._seconds_shared = 0.0
        self._seconds: dict[str, float] = {}
        self._not_passed: set[str] = set()
        self._starting: set[str] = set()
        self._uses: dict[str, set[str]] = defaultdict(set)

    def pytest_sessionstart(self) -> None:
        self._coverage.start()
        self._note_templates()
        self._note_programs()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        _forget_what_is_kept()
        self._now, self._seconds_shared = item.nodeid, 0.0
        self._coverage.switch_context(item.nodeid)
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self._seconds[item.nodeid] = round(time.monotonic() - began - self._seconds_shared, 3)
            self._now = ""
            self._coverage.switch_context("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        with self._shared(f"{fixturedef.baseid}::{fixturedef.argname}"):
            return (yield)

    def pytest_runtest_setup(self, item: pytest.Function) -> None:
        file = item.nodeid.partition("::")[0]
        self._uses[item.nodeid].update(f"{file}::{name}" for name in item.fixturenames)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._not_passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        notes = {
            "lines": {
                Path(file).relative_to(ROOT).as_posix(): {
                    line: [name for name in names if name] for line, names in data.contexts_by_lineno(file).items()
                }
                for file in data.measured_files()
            },
            "uses": {name: sorted(used) for name, used in self._uses.items()},
            "seconds": self._seconds,
            "not passed": sorted(self._not_passed),
            "starting": sorted(self._starting),
        }
        self._target.write_text(json.dumps(notes), encoding="utf-8")

    @contextmanager
    def _shared(self, name: str) -> Iterator[None]:
        """What is executed in here belongs to whatever uses it, and no test is measured by its time."""
        user, self._now = self._now, name
        self._uses[user].add(name)
        self._coverage.switch_context(name)
        began, before = time.monotonic(), self._seconds_shared
        try:
            yield
        finally:
            self._seconds_shared = before + time.monotonic() - began
            self._now = user
            self._coverage.switch_context(user)

    def _note_templates(self) -> None:
        original = database.Templates._template

        def noted(templates: database.Templates, kind: str) -> str:
            with self._shared(f"a database of the kind {kind}"):
                return original(templates, kind)

        database.Templates._template = noted  # type: ignore[assignment, method-assign]

    def _note_programs(self) -> None:
        original = subprocess.Popen.__init__

        def noted(process: Any, command: Any, *others: Any, **keywords: Any) -> None:
            if "migrate.py" in str(command):
                self._starting.add(self._now)
            original(process, command, *others, **keywords)

        subprocess.Popen.__init__ = noted  # type: ignore[method-assign, assignment]


def _forget_what_is_kept() -> None:
    """What is kept for the whole process, as the scripts are once they are read, is executed for each test."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "phase_1":
            for each in vars(module).values():
                if hasattr(each, "cache_clear"):
                    each.cache_clear()
