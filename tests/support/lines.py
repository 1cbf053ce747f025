"""Which tests execute a line of the runner, and how long they take: measured by coverage.py, once for these files."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.support.certificate import ROOT, subject, suite

#: Names the directory that each worker of pytest-xdist writes its notes to.
TARGET = "PHASE_1_LINES"
_KEPT = ROOT / "reports" / "lines.json"

_Line = tuple[str, int]


@dataclass(frozen=True)
class Lines:
    """What was measured. A test that did not pass is not in it: what it notices, nobody knows."""

    #: The tests that execute a line of a file.
    tests: Mapping[_Line, frozenset[str]]
    seconds: Mapping[str, float]
    #: Those that start the runner as a program of its own, of which nothing else is known.
    starting: frozenset[str]

    def noticing(self, file: str, line: int, likely: Sequence[str] = ()) -> list[str]:
        """The tests that can notice a change of a line, in the order in which they are to be run.

        They are those that execute it, or else another line of its statement. What is executed when modules are
        imported has no tests of its own: then those that execute what it makes, or else anything of the file. First
        come a few of those whose ids contain one of the ``likely`` texts; last those that start the runner.
        """
        names = _names(file, line)
        executing = self.tests.get((file, line)) or self._any((file, each) for each in _statement(file, line))
        if not executing and names is not None:
            executing = self._any(_uses(names)) or self._any(each for each in self.tests if each[0] == file)
        starting = self.starting - executing
        likeliest, guessed = (
            {test for test in tests if any(text in test for text in likely)} for tests in (executing, starting)
        )
        found = [*self._different(likeliest, file), *self._different(executing, file)]
        for both in zip_longest(self._spread(executing), self._spread(guessed)):
            found += filter(None, both)
        return list(dict.fromkeys([*found, *self._spread(starting)]))

    def _any(self, lines: Iterable[_Line]) -> frozenset[str]:
        return frozenset[str]().union(*(self.tests.get(each, ()) for each in lines))

    def _different(self, tests: Iterable[str], file: str) -> Iterator[str]:
        """Of these tests a few that between them execute what all of them do of a file: what is new a second counts."""
        seen, left = 0, {test: self._executed[file].get(test, 0) for test in tests}

        def worth(test: str) -> tuple[float, str]:
            return (left[test] & ~seen).bit_count() / (self.seconds[test] + 0.1), test

        while left:
            best = max(left, key=worth)
            new = left.pop(best) & ~seen
            if not new:
                return
            seen |= new
            yield best

    @cached_property
    def _executed(self) -> Mapping[str, Mapping[str, int]]:
        """For each file and test the lines that it executes, as the bits of a number."""
        executed: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for (file, line), tests in self.tests.items():
            for test in tests:
                executed[file][test] |= 1 << line
        return executed

    def _spread(self, tests: Iterable[str]) -> list[str]:
        """The fastest first; but of a function's tests, which are much alike, a second one after one of each."""
        functions: dict[str, list[str]] = defaultdict(list)
        for test in sorted(tests, key=self.seconds.__getitem__):
            functions[test.partition("[")[0]].append(test)
        turns = [(turn, self.seconds[test], test) for made in functions.values() for turn, test in enumerate(made)]
        return [test for _, _, test in sorted(turns)]


def measured(paths: Sequence[str]) -> Lines:
    """Runs these tests on the runner as it is, unless everything is as it was the last time."""
    state = {"runner": subject(), "suite": suite(), "paths": list(paths)}
    if _KEPT.exists():
        kept = json.loads(_KEPT.read_text(encoding="utf-8"))
        if kept["state"] == state:
            return _read(kept)
    with tempfile.TemporaryDirectory(prefix="phase_1_lines_") as directory:
        options = ["-p", "tests.plugins.lines", "-p", "no:cacheprovider", "--numprocesses=2", "--pg=embedded", "-q"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *paths],
            cwd=ROOT,
            env={**os.environ, TARGET: directory},
            check=False,  # what fails is not measured, and the mutants are run without it
        )
        notes = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(directory).iterdir())]
    kept = {"state": state, **_merged(notes)}
    _KEPT.parent.mkdir(exist_ok=True)
    _KEPT.write_text(json.dumps(kept), encoding="utf-8")
    return _read(kept)


def _merged(notes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The notes of all workers, with what is shared given to each test that uses it; a test is a number."""
    uses: dict[str, set[str]] = defaultdict(set)
    seconds: dict[str, float] = {}
    for each in notes:
        for name, used in each["uses"].items():
            uses[name].update(used)
        seconds.update(each["seconds"])
    tests = sorted(set(seconds) - {test for each in notes for test in each["not passed"]})
    users: dict[str, set[int]] = defaultdict(set)
    for number, test in enumerate(tests):
        reached, left = {test}, [test]
        while left:
            new = uses[left.pop()] - reached
            reached |= new
            left += new
        for name in reached:
            users[name].add(number)
    lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for each in notes:
        for file, found in each["lines"].items():
            for line, names in found.items():
                lines[file][line].update(*(users[name] for name in names))
    return {
        "tests": tests,
        "seconds": [seconds[test] for test in tests],
        "lines": {file: {line: sorted(found) for line, found in its.items()} for file, its in lines.items()},
        "starting": sorted({number for each in notes for name in each["starting"] for number in users[name]}),
    }


def _read(kept: Mapping[str, Any]) -> Lines:
    tests = kept["tests"]
    return Lines(
        {
            (file, int(line)): frozenset(tests[number] for number in found)
            for file, its in kept["lines"].items()
            for line, found in its.items()
            if found
        },
        dict(zip(tests, kept["seconds"], strict=True)),
        frozenset(tests[number] for number in kept["starting"]),
    )


def forget() -> None:
    """Has the files of the runner read anew."""
    _tree.cache_clear()
    _used.cache_clear()


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def _statement(file: str, line: int) -> range:
    """The lines of the innermost statement around a line, without those of the statements in it."""
    around = [node for node in ast.walk(_tree(file)) if isinstance(node, ast.stmt) and line in _span(node)]
    return _head(max(around, key=lambda node: node.lineno)) if around else range(0)


def _span(node: ast.stmt) -> range:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return range(min([node.lineno, *(each.lineno for each in decorators)]), (node.end_lineno or 0) + 1)


def _head(node: ast.stmt) -> range:
    body: list[ast.stmt] = getattr(node, "body", [])
    return range(_span(node).start, _span(body[0]).start) if body else _span(node)


def _names(file: str, line: int) -> list[str] | None:
    """The names of what a line makes when its module is imported; None inside of a function."""
    body = _tree(file).body
    while True:
        found = next((node for node in body if line in _span(node)), None)
        if isinstance(found, (ast.ClassDef, ast.FunctionDef)):
            if line in _head(found):
                return [found.name]
            if isinstance(found, ast.FunctionDef):
                return None
            body = found.body
            continue
        if isinstance(found, (ast.Assign, ast.AnnAssign)):
            targets = found.targets if isinstance(found, ast.Assign) else [found.target]
            return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        return []


def _uses(names: Iterable[str]) -> Iterator[_Line]:
    """The lines that use what has such a name, or what is made of it when modules are imported."""
    left, seen = list(names), set()
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            for file, line in _used()[name]:
                yield file, line
                left += _names(file, line) or ()


@cache
def _used() -> Mapping[str, set[_Line]]:
    """Where each name stands in the runner; what a function does is where its own name stands."""
    used: dict[str, set[_Line]] = defaultdict(set)
    for file in (each["name"] for each in subject() if each["name"].endswith(".py")):
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used[node.id].add((file, node.lineno))
            elif isinstance(node, ast.Attribute):
                used[node.attr].add((file, node.lineno))
            elif isinstance(node, ast.FunctionDef):
                used[node.name].update((file, line) for line in _span(node))
    return used
