"""The online mode: the same end as the transactional one, and a way on or back from wherever it stops."""

from __future__ import annotations

import re

import psycopg
import pytest

from phase_1.fingerprint import difference
from phase_1.problems import DONE, STOPPED
from tests.plugins.database import OWNER, Database, Templates
from tests.plugins.server import Server
from tests.support.looking import catalog, wait_for
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


@pytest.mark.claim("lock-waits-give-way")
def test_autovacuum_in_the_way_is_said_with_what_helps(private_server: Server) -> None:
    """Autovacuum in the way is named, or that it may be it where the role cannot see so, with what gets past it.

    PostgreSQL ends it for who waits a second, which the runner never does: it would give up night after night.
    """
    templates = Templates(private_server)
    database = templates.clone("founding")
    database.execute(
        "ALTER TABLE public.email_logs SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,"
        # A page at a time, with a pause after each: it is at work for minutes.
        " autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);"
        " INSERT INTO public.email_logs (recipient) SELECT n || '@example.com' FROM generate_series(1, 20000) AS n;"
        " UPDATE public.email_logs SET subject = 'news'"
    )
    with database.connect() as session:
        for setting in ("autovacuum = on", "autovacuum_naptime = '1s'"):
            session.execute(f"ALTER SYSTEM SET {setting}".encode())
        session.execute("SELECT pg_reload_conf()")
    (pid,) = wait_for(
        database,
        "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type = 'autovacuum worker'"
        " AND relation = 'public.email_logs'::regclass AND granted",
    )
    dsn = ("--dsn", database.owner_dsn, "--force", "--online")
    hidden = run(*dsn, "--give-up-after", "1s")
    assert hidden.status == STOPPED, hidden.out + hidden.err
    assert f"process {pid} (of no user, maybe autovacuum; more is not visible to this role: " in hidden.err
    assert f"GRANT pg_read_all_stats TO {OWNER}" in hidden.err
    # How long it waited may end in "1.0 s"; for how long the other has been at work is not known here, thus not said.
    assert not re.search(r"None|(?<![\d.])0 s|insufficient privilege", hidden.err)

    database.execute(f"GRANT pg_read_all_stats TO {OWNER}")
    seen = run(*dsn, "--give-up-after", "1s")
    assert seen.status == STOPPED, seen.out + seen.err
    assert re.search(rf"process {pid} \(autovacuum worker, active, .*: autovacuum: VACUUM", seen.err)
    for ended in (hidden, seen):
        assert re.search(r"ALTER TABLE (public\.)?email_logs SET \(autovacuum_enabled = off\)", ended.err)
    [advised] = set(re.findall(r"--lock-timeout \d+ms", seen.err))
    done = run(*dsn, *advised.split())
    assert done.status == DONE, done.out + done.err
    templates.close()


@pytest.mark.claim("lock-waits-give-way")
def test_session_in_the_way_that_cannot_be_looked_at_is_named_as_far_as_it_can(templates: Templates) -> None:
    """Of a session of another role is said who it is, that the rest is hidden, and which GRANT shows it.

    Zero seconds and a state unknown, as if it had been looked at, send the operator the wrong way.
    """
    database = templates.clone("founding")
    database.execute("GRANT SELECT ON public.uploads TO authenticator")
    with database.connect("authenticator", autocommit=False, application_name="report") as other:
        other.execute("SELECT FROM public.uploads")
        stopped = run("--dsn", database.owner_dsn, "--force", "--online", "--give-up-after", "1s")
        pid = other.info.backend_pid
    assert stopped.status == STOPPED, stopped.out + stopped.err
    assert (
        f"In the way: process {pid} (report, authenticator; more is not visible to this role: "
        f"GRANT pg_read_all_stats TO {OWNER})" in stopped.err
    )
    assert "utovacuum" not in stopped.err
    database.drop()
