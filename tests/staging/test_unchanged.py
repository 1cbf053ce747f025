"""What the run has left behind on staging: nothing."""

from __future__ import annotations

import pytest

from phase_1.fingerprint import difference, sha256
from tests.plugins.certificate import Evidence
from tests.support.staging import Snapshot, Staging, require_none

pytestmark = pytest.mark.staging


@pytest.fixture(scope="module")
def after(staging: Staging) -> Snapshot:
    """Staging at the end of the run."""
    return staging.snapshot()


@pytest.mark.claim("staging-catalog-unchanged")
def test_catalog_is_the_same_after_the_run(staging: Staging, after: Snapshot, evidence: Evidence) -> None:
    """The fingerprint of the catalog is what it was before the run.

    Whoever is told that a run only reads will let it run on what must not change.
    """
    with staging.looking():
        evidence("who has looked", staging.rights)
        evidence("what could not be seen", staging.cannot_see or "nothing was out of sight")
    evidence("SHA-256 of the catalog", {"before": sha256(staging.before.catalog), "after": sha256(after.catalog)})
    require_none(difference(staging.before.catalog, after.catalog))


@pytest.mark.claim("staging-rows-unchanged")
def test_rows_are_as_many_after_the_run(staging: Staging, after: Snapshot, evidence: Evidence) -> None:
    """Every table has as many rows of each client as before the run.

    Figures that were taken while rows came and went belong to no state that the database was in.
    """
    before = staging.before
    evidence(
        "rows", [{"table": name, "before": before.count(name), "after": after.count(name)} for name in before.rows]
    )
    changed = before.changed(after)
    if changed:
        pytest.fail(
            f"rows of {', '.join(changed)} have come or gone. No session of this run can write, so somebody else is at "
            "work there. What to do: run it again while staging rests",
            pytrace=False,
        )
