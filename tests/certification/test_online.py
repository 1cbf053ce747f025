"""The online mode: the same end as the transactional one, and a way on or back from wherever it stops."""

from __future__ import annotations

import psycopg
import pytest

from phase_1.fingerprint import difference
from phase_1.problems import STOPPED
from tests.plugins.database import Database, Templates
from tests.support.looking import catalog
from tests.support.runner import run
from tests.support.survival import leftovers


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
    before, rows = catalog(database), database.checksum()
    _migrate(database, *arguments)
    assert difference(catalog(migrated), catalog(database)) == []
    _migrate(database, "--rollback", "--online")
    assert difference(before, catalog(database)) == []
    assert database.checksum() == rows
    database.drop()


@pytest.mark.claim("modes-end-alike")
@pytest.mark.parametrize("there", ["online", "transactional"])
def test_rollback_takes_back_what_the_other_mode_did(templates: Templates, variant: str, there: str) -> None:
    """A migration of one mode is taken back by the rollback of the other.

    Who migrated at night online could not go back in a window, or the other way round.
    """
    database = templates.clone(variant)
    before, rows = catalog(database), database.checksum()
    _migrate(database, *(["--online"] if there == "online" else []))
    _migrate(database, "--rollback", *([] if there == "online" else ["--online"]))
    assert difference(before, catalog(database)) == []
    assert database.checksum() == rows
    database.drop()


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
    assert leftovers(database) == []
    _migrate(database, "--online")
    assert run("--dsn", database.owner_dsn, "--verify").status == 0
    database.drop()
