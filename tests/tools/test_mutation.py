"""The controls and the mutants fit the project as it is; nothing is run here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_1.scripts import PLACEHOLDER
from tests.claims import CLAIMS
from tests.controls import CONTROLS, Control
from tests.equivalents import EQUIVALENT
from tests.mutants import likely, sample
from tests.support.certificate import ROOT
from tests.support.lines import Lines, forget, measured
from tests.support.mutation import FILES, INVENTORY, mutants
from tests.support.sabotage import Change, ChangeError, require


def test_every_claim_has_a_control() -> None:
    """Each claim has a sabotage that its tests have to notice.

    A claim that nobody has seen fail may be one that cannot.
    """
    assert [claim.id for claim in CLAIMS if claim.id not in {control.claim for control in CONTROLS}] == []
    assert {control.claim for control in CONTROLS} <= {claim.id for claim in CLAIMS}


@pytest.mark.parametrize("control", CONTROLS, ids=lambda each: f"{each.claim}: {each.sabotage}")
def test_control_can_be_made(control: Control) -> None:
    """What a control replaces is in the file exactly once, and what the failure has to say is a pattern.

    One that has gone stale would sabotage nothing, or break the file instead of the promise.
    """
    require(control.changes)
    for change in control.changes:
        if change.file.endswith(".sql"):
            known, used = (
                {found[found.lastgroup or 0] for found in PLACEHOLDER.finditer(each)}
                for each in ((ROOT / change.file).read_text(encoding="utf-8"), change.new)
            )
            assert used <= known, "placeholders that are not filled in"
    re.compile(control.says)
    assert control.says
    assert control.changes


def test_change_is_refused_where_its_text_is_not_there_once(tmp_path: Path) -> None:
    """A change whose text is missing or there twice is an error, and the file stays as it is.

    The wrong place changed is a control of something else.
    """
    (tmp_path / "file").write_text("a b b", encoding="utf-8")
    for old in ("c", "b"):
        with pytest.raises(ChangeError):
            Change("file", old, "x").apply(tmp_path)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "a b b"
    Change("file", "a", "x").apply(tmp_path)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "x b b"


def test_mutants_are_many_and_of_every_file() -> None:
    """There are mutants of each file of the SQL and of the inventory, each differs, and for each some test is likely.

    An operator that matches nothing any more makes the score of the rest look like one of the whole.
    """
    found = mutants()
    assert len(found) > 1_000
    # There is nothing in it but what it is asked about: the tests of its cases see that it is asked.
    without = "sql/preflight/what_was_begun_is_not_left_out.sql"
    assert {each.file for each in found} == {*FILES, INVENTORY} - {without}
    assert len({(each.file, each.start, each.before, each.after) for each in found}) == len(found)
    assert all(likely(each) for each in found)
    assert len({each.operator for each in found}) >= 40
    chosen = sample(found, 150, 1)
    assert len({id(each) for each in chosen}) == 150


def test_explained_mutants_are_there() -> None:
    """Every mutant that is explained as equivalent is one.

    An explanation of what is gone would one day excuse something else.
    """
    explained = {key for key in EQUIVALENT if key[0] in (*FILES, INVENTORY)}
    assert sorted(explained - {each.key for each in mutants()}) == []


_RUNNER = """\
LIMIT = 3


@decorator
class Thing:
    def size(self):
        return (
            LIMIT
        )


def elsewhere():
    return Thing()


def never():
    return 1
"""


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What four tests execute of a runner of a few lines; a fifth one starts it as a program."""
    (tmp_path / "runner.py").write_text(_RUNNER)
    monkeypatch.setattr("tests.support.lines.ROOT", tmp_path)
    monkeypatch.setattr("tests.support.lines.subject", lambda: [{"name": "runner.py", "sha256": ""}])
    executed = {7: ["a::slow", "a::quick[1]", "a::quick[2]"], 8: ["a::slow", "a::quick[1]"], 13: ["b::other"]}
    seconds = {"a::slow": 2.0, "a::quick[1]": 0.1, "a::quick[2]": 0.2, "b::other": 0.5, "c::program": 1.0}
    forget()
    yield Lines(
        {("runner.py", line): frozenset(tests) for line, tests in executed.items()}, seconds, frozenset(["c::program"])
    )
    forget()


@pytest.mark.parametrize(
    ("line", "tests"),
    [
        (7, ["a::quick[1]", "a::slow", "a::quick[2]", "c::program"]),
        (8, ["a::quick[1]", "a::slow", "c::program"]),
        (9, ["a::quick[1]", "a::slow", "a::quick[2]", "c::program"]),
        (1, ["a::quick[1]", "a::slow", "c::program"]),
        (4, ["b::other", "c::program"]),
        (6, ["a::quick[1]", "a::slow", "a::quick[2]", "c::program"]),
        (12, ["b::other", "c::program"]),
        (17, ["c::program"]),
    ],
    ids=[
        "executed", "by fewer", "of the same statement", "used", "of a class", "of a method", "of a function",
        "never executed",
    ],
)  # fmt: skip
def test_tests_of_a_line_are_those_that_can_notice_it(lines: Lines, line: int, tests: list[str]) -> None:
    """A line's tests are those that execute it or what is made of it, one of each function first, programs last.

    A mutant would be taken for one that nobody notices, for want of the one test that does.
    """
    assert lines.noticing("runner.py", line) == tests


def test_likely_tests_of_a_line_come_first(lines: Lines) -> None:
    """Of the tests of a line those that are likely come first, a program too before others of its kind.

    What each test of the suite executes, only a few look at.
    """
    assert lines.noticing("runner.py", 7, ["slow"])[0] == "a::slow"
    assert lines.noticing("runner.py", 7, ["program"])[:2] == ["a::quick[1]", "c::program"]


def test_lines_are_measured_for_each_test_and_what_it_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is what each test executes, itself or by a fixture of its module; a second time it is read.

    A test that is not known to execute a line is never asked whether it has changed.
    """
    pytest.importorskip("coverage", reason="of the extra `mutants`")
    monkeypatch.setattr("tests.support.lines._KEPT", tmp_path / "lines.json")
    path = "tests/tools/test_scripts.py"
    found = measured([path])
    [line] = [
        number
        for number, text in enumerate((ROOT / "phase_1/scripts.py").read_text().splitlines(), start=1)
        if text.startswith("    return '\"' + name")
    ]
    executing = found.tests["phase_1/scripts.py", line]
    assert f"{path}::test_identifier_is_read_back_as_the_name['Mixed Case']" in executing
    assert f"{path}::test_identifier_is_read_back_as_the_name['plain']" not in executing
    assert set(found.seconds) >= executing
    monkeypatch.setattr("subprocess.run", None)
    assert measured([path]) == found
