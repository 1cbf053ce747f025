"""The online mode: the same end as the transactional one, and a way on or back from wherever it stops."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest

from phase_1.fingerprint import Fingerprint, difference, fingerprint
from phase_1.problems import STOPPED
from tests.plugins.certificate import Evidence
from tests.plugins.database import Database, Templates
from tests.support.faults import run_until
from tests.support.runner import run

#: What differs on purpose: the log keeps what happened.
_LOG = ("public.migration_log",)

#: Points of failure for each variant; which ones is drawn by the seed, so that it can be had again.
_POINTS = 4
_SEED = 20261123


def _fingerprint(database: Database) -> Fingerprint:
    with database.connect() as connection:
        return fingerprint(connection, exclude=_LOG)


def _migrate(database: Database, *arguments: str) -> None:
    ended = run("--dsn", database.owner_dsn, "--force", *arguments)
    assert ended.status == 0, ended.out + ended.err


@pytest.mark.claim("modes-end-alike")
@pytest.mark.parametrize("arguments", [("--online",), ("--online", "--jobs", "3")], ids=["online", "jobs=3"])
def test_online_migration_ends_in_the_catalog_of_the_transactional_one(
    templates: Templates, variant: str, migrated: Database, arguments: tuple[str, ...]
) -> None:
    """Migrated and rolled back online, the catalog is the one that the transactional mode leaves.

    What was certified of one mode would not hold for the other.
    """
    database = templates.clone(variant)
    before, rows = _fingerprint(database), database.checksum()
    _migrate(database, *arguments)
    assert difference(_fingerprint(migrated), _fingerprint(database)) == []
    _migrate(database, "--rollback", "--online")
    assert difference(before, _fingerprint(database)) == []
    assert database.checksum() == rows
    database.drop()


@pytest.mark.claim("modes-end-alike")
@pytest.mark.parametrize("there", ["online", "transactional"])
def test_rollback_takes_back_what_the_other_mode_did(templates: Templates, variant: str, there: str) -> None:
    """A migration of one mode is taken back by the rollback of the other.

    Who migrated at night online could not go back in a window, or the other way round.
    """
    database = templates.clone(variant)
    before, rows = _fingerprint(database), database.checksum()
    _migrate(database, *(["--online"] if there == "online" else []))
    _migrate(database, "--rollback", *([] if there == "online" else ["--online"]))
    assert difference(before, _fingerprint(database)) == []
    assert database.checksum() == rows
    database.drop()


def _leftovers(database: Database) -> list[Any]:
    """Invalid indexes and advisory locks."""
    return [
        *database.query("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid OR NOT indisready"),
        *database.query(
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ),
    ]


@pytest.mark.claim("online-resumes")
@pytest.mark.parametrize("direction", ["migration", "rollback"])
def test_online_run_is_completed_or_taken_back_from_where_it_stopped(
    templates: Templates, variant: str, migrated: Database, direction: str, evidence: Evidence
) -> None:
    """Killed before any statement, an online run ends, run again, where it would have, or is taken back.

    A database that is half-way and can go neither on nor back is restored from last night's backup.
    """
    pristine_clone = templates.clone(variant)
    pristine, certified = _fingerprint(pristine_clone), _fingerprint(migrated)
    rows = pristine_clone.checksum()
    pristine_clone.drop()
    kind = variant if direction == "migration" else f"{variant}-migrated"
    forward = ["--online", *(["--rollback"] if direction == "rollback" else [])]
    back = ["--online", *(["--rollback"] if direction == "migration" else [])]
    end, start = (certified, pristine) if direction == "migration" else (pristine, certified)

    drawn = random.Random(f"{_SEED} {variant} {direction}")  # noqa: S311 - a sample, not a secret
    points = drawn.sample(range(1, _count(templates, kind, forward) + 1), _POINTS)
    survived = []
    for number, point in enumerate(sorted(points)):
        database = templates.clone(kind)
        stopped, killer = run_until(database, point, *forward)
        where = f"point {point}: {killer.killed}"
        assert stopped.status in (STOPPED, 1), where + stopped.err
        assert "What to do:" in stopped.err, where
        # Every other time it goes back instead of on.
        arguments, expected = (forward, end) if number % 2 else (back, start)
        ended = run("--dsn", database.owner_dsn, "--force", *arguments)
        assert ended.status == 0, where + ended.out + ended.err
        assert difference(expected, _fingerprint(database)) == [], where
        assert _leftovers(database) == [], where
        assert database.checksum() == rows, where
        survived.append({"point": point, "killed before": killer.killed, "then": " ".join(arguments)})
        database.drop()
    evidence(f"points tried and survived, seed {_SEED}", survived)


def _count(templates: Templates, kind: str, arguments: list[str]) -> int:
    """How many statements do something in a whole run."""
    database = templates.clone(kind)
    ended, counter = run_until(database, 0, *arguments)
    assert ended.status == 0, ended.err
    database.drop()
    return len(counter.seen)


@pytest.mark.claim("online-resumes")
def test_index_build_that_gives_up_leaves_no_invalid_index(templates: Templates, variant: str) -> None:
    """An index build that waits too long for an older transaction stops, and clears up behind it.

    An invalid index costs every write of the application and serves no query.
    """
    database = templates.clone(variant)
    with psycopg.connect(database.dsn()) as older:
        older.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        older.execute("SELECT 1")  # takes the snapshot that the build has to wait for
        stopped = run(
            "--dsn",
            database.owner_dsn,
            "--force",
            "--online",
            "--concurrently-timeout",
            "300ms",
            "--give-up-after",
            "1s",
        )
        assert stopped.status == STOPPED, stopped.out + stopped.err
        assert f"process {older.info.backend_pid}" in stopped.err
        older.rollback()
    assert _leftovers(database) == []
    _migrate(database, "--online")
    assert run("--dsn", database.owner_dsn, "--verify").status == 0
    database.drop()
