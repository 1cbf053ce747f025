"""A staging database before Phase 1: what speaks against it, how it would go, and what it would take."""

from __future__ import annotations

import pytest

from tests.plugins.certificate import Evidence
from tests.support.rehearsal import Rehearsal, estimate, megabytes
from tests.support.staging import NOT_MIGRATED, Staging, require_none

pytestmark = pytest.mark.staging(NOT_MIGRATED)


@pytest.mark.claim("staging-preflight")
def test_preflight_finds_no_error_on_staging(staging: Staging, evidence: Evidence) -> None:
    """Preflight refuses nothing that is on staging.

    What it would refuse in production is otherwise found out in the window for the migration.
    """
    evidence(
        "the tables",
        [
            {
                "table": table.name,
                "time column": table.time_column or "-",
                "rows": staging.before.count(table.name),
                "MB": megabytes(table.table_bytes),
                "indexes, MB": megabytes(table.index_bytes),
            }
            for table in staging.found.tables
        ],
    )
    require_none(staging.check("preflight", evidence))


@pytest.mark.claim("staging-rehearsal")
def test_rehearsal_migrates_verifies_and_goes_back(rehearsal: Rehearsal, evidence: Evidence) -> None:
    """With this schema the migration runs, every check passes, and the rollback leaves schema and rows as they were.

    A deployment differs from every variant that was thought of; here is the last place where that costs nothing.
    """
    evidence(
        "the rehearsal",
        {
            "on": rehearsal.server,
            "migrated by": rehearsal.user,
            "rows": sum(rehearsal.rows.values()),
            "seconds, migration with its checks": round(rehearsal.seconds, 2),
            "seconds, rollback": round(rehearsal.rollback_seconds, 2),
        },
    )
    evidence("what was otherwise than on staging", list(rehearsal.told))
    require_none(rehearsal.problems)


@pytest.mark.claim("staging-estimate")
def test_estimate_follows_from_the_rehearsal_and_the_real_sizes(
    staging: Staging, rehearsal: Rehearsal, evidence: Evidence
) -> None:
    """There is an estimate of the seconds, the WAL and the disk that the migration takes with staging's rows.

    A window is asked for, and a disk is ordered, by these figures.
    """
    if rehearsal.problems:
        pytest.fail("there is nothing to extrapolate from: the rehearsal failed", pytrace=False)
    made = estimate(staging, rehearsal)
    evidence("what the migration will take, by table", made.tables)
    beside = made.beside(rehearsal, online=staging.options.online)
    evidence("what the migration will take, on a machine like this one", beside)
    assert {each["table"] for each in made.tables} == set(staging.tables)
    assert min(made.seconds, made.wal, made.disk) > 0, made
    # It takes as many rows as staging has: a smaller rehearsal would otherwise pass for the migration.
    assert made.rows == sum(map(staging.before.count, staging.tables))
