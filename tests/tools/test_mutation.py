"""The controls and the mutants fit the project as it is; nothing is run here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.claims import CLAIMS
from tests.controls import CONTROLS, Control
from tests.equivalents import EQUIVALENT
from tests.mutants import likely, sample
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

    One that has gone stale would sabotage nothing.
    """
    require(control.changes)
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
    assert {each.file for each in found} == {*FILES, INVENTORY}
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
