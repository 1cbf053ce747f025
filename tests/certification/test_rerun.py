"""Running it twice, dry, beside another run, and beside an application that holds locks."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any, Literal

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from migrate import _look as look
from phase_1 import apply
from phase_1.fingerprint import Fingerprint, difference, fingerprint
from phase_1.found import ADVISORY_LOCK
from phase_1.inventory import NEW_TABLES, TABLES
from phase_1.options import parse
from phase_1.plan import BEGIN
from phase_1.scripts import identifier
from phase_1.shown import printable
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Row, Templates
from tests.support.looking import LOG, PATIENCE, wait_for, wait_for_who_waits
from tests.support.pooler import Pooler
from tests.support.proxy import Proxy, Statement
from tests.support.runner import Run, by_psql, run, start
from tests.support.ways import DIRECTIONS, MODES, WAYS

NAMES = [table.name for table in TABLES]
ALL = ", ".join(f"public.{name}" for name in NAMES)


def through(proxy: Proxy, database: Database, *arguments: str) -> Run:
    """A run as the owner of the tables, every statement of which is written down."""
    return run("--dsn", proxy.dsn(database.name, OWNER), "--force", *arguments)


def ready(database: Database, direction: list[str], mode: list[str] | None = None) -> None:
    """Brings a database to where the direction starts."""
    if direction:
        done = run("--dsn", database.owner_dsn, "--force", *(mode or []))
        assert done.status == 0, done.err


def objects(database: Database, *exclude: str) -> Fingerprint:
    with database.connect() as connection:
        return fingerprint(connection, exclude=exclude)


def rows(database: Database) -> dict[str, list[Row]]:
    """Every row of every table with its place and its transaction, the log included."""
    there = [name for name in NEW_TABLES if database.query("SELECT to_regclass(%s)", f"public.{name}") != [(None,)]]
    return {**database.rows_with_xmin(), **database.rows_with_xmin(there)}


def written(statements: list[Statement]) -> list[str]:
    """The statements that may write: what is neither in a transaction that only reads nor a look.

    What is left to a transaction that only reads cannot write, so that nothing need be known of it.
    """
    harmless = re.compile(
        r"(SELECT pg_catalog\.pg_(backend_pid|try_advisory_lock|advisory_unlock)\(\d*\)|BEGIN|ROLLBACK|COMMIT)$"
        # a look at who is in the way, and at the holder of the advisory lock
        r"|SELECT (1$|pid, |greatest\()"
        # a session's own settings
        r"|((SET|RESET) \w+[^;]*(; |$))+$"
    )
    reading: set[int] = set()
    found = []
    for each in statements:
        if re.match(r"BEGIN\b.*\bREAD ONLY$", each.sql):
            reading.add(each.connection)
        elif each.sql in ("ROLLBACK", "COMMIT"):
            reading.discard(each.connection)
        elif each.connection not in reading and not harmless.match(each.sql):
            found.append(each.sql)
    return found


@pytest.mark.claim("rerun-does-nothing")
@WAYS
def test_second_run_does_nothing(database: Database, proxy: Proxy, direction: list[str], mode: list[str]) -> None:
    """A second run finds nothing to do, says so, exits with 0 and sends no statement that could write.

    Otherwise a deployment that runs the migration on every start changes the database on every start.
    """
    ready(database, direction, mode)
    assert through(proxy, database, *direction, *mode).status == 0
    before, before_rows = objects(database), rows(database)
    first = len(proxy.statements())
    second = through(proxy, database, *direction, *mode)
    assert (second.status, second.err) == (0, "")
    nothing = "the log does not say that Phase 1 did anything" if direction else "every step of Phase 1 is done."
    assert f"Nothing to do: {nothing}" in second.out
    assert "-- Phase 1" not in second.out
    assert difference(before, objects(database)) == []
    assert rows(database) == before_rows
    assert written(proxy.statements()[first:]) == []
    # The test can fail: the first run did write.
    assert written(proxy.statements()[:first]) != []


@pytest.mark.claim("rerun-does-nothing")
def test_second_run_leaves_later_decisions_alone(migrated: Database) -> None:
    """A membership that was taken away, and a user who came later, are none of a second run's business.

    Otherwise a deployment gives access back to whom it was taken from.
    """
    migrated.execute(
        "DELETE FROM public.user_organizations WHERE id = (SELECT id FROM public.user_organizations LIMIT 1)"
    )
    left = migrated.checksum(["user_organizations"])
    assert run("--dsn", migrated.owner_dsn, "--force").status == 0
    assert migrated.checksum(["user_organizations"]) == left


def working(statements: list[Statement]) -> list[str]:
    """What the working session has sent, from the first BEGIN to the last COMMIT."""
    (connection,) = {each.connection for each in statements if each.sql == "COMMIT;"}
    sent = [each.sql for each in statements if each.connection == connection]
    return sent[sent.index(BEGIN) : len(sent) - sent[::-1].index("COMMIT;")]


def taken_out(script: str, statements: list[str]) -> str:
    """What is left of a script without these statements, which have to be in it, in this order, to the byte."""
    left, position = "", 0
    for sql in statements:
        found = script.find(sql, position)
        assert found >= 0, f"not in the dry run, or out of order: {sql}"
        left += script[position:found]
        position = found + len(sql)
    return left + script[position:]


def noted(database: Database) -> list[Row]:
    """The entries of the steps in the log; those about a run as a whole the runner adds."""
    return database.query(
        f"SELECT operation, status, details FROM {LOG} WHERE status = 'completed' AND operation <> 'verify' ORDER BY id"
    )


@pytest.mark.claim("dry-run-is-what-runs")
@WAYS
def test_dry_run_is_to_the_byte_what_runs(
    database: Database,
    templates: Templates,
    proxy: Proxy,
    direction: list[str],
    mode: list[str],
    evidence: Evidence,
) -> None:
    """The dry run's statements are those that the working session sends, and psql runs it with the same result.

    Otherwise what was reviewed is not what runs in production.
    """
    ready(database, direction, mode)
    script = run("--dsn", database.owner_dsn, "--dry-run", "--force", *direction, *mode).out
    other = templates.clone(database.variant)
    try:
        ready(other, direction, mode)
        before = len(noted(database)) if direction else 0
        assert through(proxy, database, *direction, *mode).status == 0
        sent = working(proxy.statements())
        for line in taken_out(script, sent).splitlines():
            assert line == "" or line.startswith(("-- ", "\\set ON_ERROR_STOP on")), (
                f"in the dry run, and not sent: {line}"
            )
        evidence("statements in the dry run, and sent", len(sent))

        by_psql(other, script)
        assert difference(objects(database), objects(other)) == []
        assert noted(other) == noted(database)
        assert len(noted(database)) > before
        everywhere = [*NAMES] if direction else [*NAMES, "organizations", "user_organizations"]
        assert counts(other, everywhere) == counts(database, everywhere)
        assert other.checksum() == database.checksum()
    finally:
        other.drop()


def counts(database: Database, tables: list[str]) -> dict[str, int]:
    return {table: count for table, (count, _) in database.checksum(tables).items()}


@pytest.mark.claim("dry-run-is-what-runs")
@pytest.mark.parametrize("mode", [[], ["--online"]], ids=["transactional", "online"])
def test_script_has_no_line_that_a_name_has_begun(templates: Templates, mode: list[str]) -> None:
    """Names with line feeds, quotes and control characters end no comment of the script, which psql runs as ever.

    Whoever may name a partition or a role would have statements of theirs run by whoever reviews the script.
    """
    database = templates.clone("founding-partitioned")
    hostile = 'x\nSELECT 1/0;\n-- "\x1b[2J\u202e\\'
    user = f"{database.name}\nSELECT 1/0; --\x1b[2J"
    database.execute(f"ALTER TABLE public.sellout_entries2_2025 RENAME TO {identifier(hostile)}")
    try:
        database.execute(f"CREATE ROLE {identifier(user)} LOGIN PASSWORD 'x' IN ROLE {OWNER}")
        before = objects(database, LOG)
        dsn = make_conninfo(database.owner_dsn, user=user, password="x")  # noqa: S106 - of one test
        shown = run("--dsn", dsn, "--dry-run", *mode)
        assert shown.status == 0, shown.err
        assert [line for line in (shown.out + shown.err).split("\n") if not line.isprintable()] == []
        assert f" as {printable(user)}, PostgreSQL" in shown.out
        assert f"-- add_client_id_foreign_key({printable(hostile)})\n" in shown.out
        by_psql(database, shown.out)
        done = run("--dsn", database.owner_dsn, "--force", *mode)
        assert (done.status, "Nothing to do" in done.out) == (0, True), done.out + done.err
        assert run("--dsn", database.owner_dsn, "--verify").status == 0
        # What is undone goes by the names in the log: these are kept as they are.
        undone = run("--dsn", database.owner_dsn, "--rollback", "--force", *mode)
        assert undone.status == 0, undone.err
        assert [line for line in (undone.out + undone.err).split("\n") if not line.isprintable()] == []
        assert difference(before, objects(database, LOG)) == []
    finally:
        database.drop()
        with closing(templates.server.connect()) as connection:
            connection.execute(f"DROP ROLE IF EXISTS {identifier(user)}".encode())


@pytest.mark.claim("dry-run-is-what-runs")
def test_dry_run_of_what_is_done_is_a_script_without_statements(migrated: Database) -> None:
    """Where there is nothing to do the dry run says so in a script that does nothing.

    Otherwise a pipeline that feeds it to psql runs something a second time.
    """
    done = run("--dsn", migrated.owner_dsn, "--dry-run")
    assert done.status == 0
    assert all(line == "" or line.startswith("-- ") for line in done.out.splitlines())
    assert "-- 0 steps to do" in done.out


@pytest.mark.claim("dry-run-only-reads")
@WAYS
def test_dry_run_changes_nothing_and_waits_for_nobody(
    database: Database, proxy: Proxy, direction: list[str], mode: list[str]
) -> None:
    """The dry run only reads, beside an application that reads and writes every table in open transactions.

    Otherwise looking at what would happen is an intervention of its own.
    """
    ready(database, direction, mode)
    before, before_rows = objects(database), rows(database)
    holder = database.connect("app_owner", autocommit=False)
    holder.execute(f"LOCK TABLE {ALL} IN ROW EXCLUSIVE MODE")
    # Another runner at work: looking takes no turn.
    holder.execute("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
    done = through(proxy, database, "--dry-run", *direction, *mode)
    assert (done.status, "COMMIT;" in done.out) == (0, True), done.err
    assert written(proxy.statements()) == []
    holder.rollback()
    assert difference(before, objects(database)) == []
    assert rows(database) == before_rows


State = dict[str, Any]


def state(connection: psycopg.Connection[Any]) -> State:
    """What a session carries from one user of it to the next."""
    read = connection.execute
    read("DO $$BEGIN END$$")  # loads PL/pgSQL, whose settings are there from then on
    return {
        "settings": dict(read("SELECT name, setting FROM pg_settings").fetchall()),
        "role": read("SELECT session_user, current_user").fetchall(),
        "prepared": read("SELECT name FROM pg_prepared_statements").fetchall(),
        "advisory locks": read(
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        ).fetchall(),
        "channels": read("SELECT pg_listening_channels()").fetchall(),
        "temporary": read("SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()").fetchall(),
    }


def pooled(pooler: Pooler, count: int) -> dict[int, State]:
    """What each session of a pooler is like for who has it next, by its process."""
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(closing(psycopg.connect(pooler.dsn, autocommit=True, sslmode="disable")))
            for _ in range(count)
        ]
        pids = [session.execute("SELECT pg_backend_pid()").fetchall()[0][0] for session in sessions]
        return {pid: state(session) for pid, session in zip(pids, sessions, strict=True)}


@pytest.mark.claim("settings-do-not-leak")
def test_sessions_are_left_as_they_were_found(database: Database) -> None:
    """Whatever the run, no setting, lock, role or prepared statement stays behind in a session of a pooler.

    Otherwise the next user of a pooled session works without a statement_timeout, or blind to a schema.
    """
    # Settings of the session's own, as ALTER ROLE or a pooler would give them.
    given = (
        "-c statement_timeout=61s -c lock_timeout=62s -c search_path=auth -c idle_in_transaction_session_timeout=63s"
        " -c datestyle=German -c intervalstyle=iso_8601 -c quote_all_identifiers=on"
        " -c standard_conforming_strings=off"
    )
    dsn = psycopg.conninfo.make_conninfo(database.owner_dsn, options=given)
    runs = (
        ("--dry-run",),
        ("--give-up-after", "1ms", "--lock-timeout", "1ms"),
        ("--online", "--give-up-after", "1ms", "--lock-timeout", "1ms"),
        (),
        ("--verify",),
        ("--status",),
        ("--rollback", "--dry-run"),
        ("--rollback", "--give-up-after", "1ms", "--lock-timeout", "1ms"),
        ("--rollback",),
        ("--online", "--jobs", "2"),
        ("--rollback", "--online"),
    )
    ran = []
    count = 4  # two sessions, and one for each job
    with Pooler(dsn, "session", count) as pooler:
        before = pooled(pooler, count)
        for arguments in runs:
            with database.connect(autocommit=False) as holder:
                if "--give-up-after" in arguments:
                    holder.execute("LOCK TABLE public.users IN ACCESS SHARE MODE")
                ran.append((arguments, run("--dsn", pooler.dsn, "--force", *arguments).status))
            after = pooled(pooler, count)
            for pid, session in after.items():
                former = before[pid]["settings"]
                assert {name: each for name, each in session["settings"].items() if each != former[name]} == {}
            assert after == before
    assert [status for _, status in ran] == [0, 1, 5, 0, 0, 0, 0, 1, 0, 0, 0], ran


@pytest.mark.claim("settings-do-not-leak")
def test_session_of_a_build_that_failed_is_left_as_it_was_found(database: Database) -> None:
    """A build outside of a transaction that fails leaves none of its settings in the session.

    No ROLLBACK takes them back, and whoever gets the session from a pooler waits ten minutes for a lock.
    """
    limits = ("--concurrently-timeout", "50ms", "--give-up-after", "1ms")
    with Pooler(database.owner_dsn, "session", 2) as pooler, database.connect(autocommit=False) as reader:
        before = pooled(pooler, 2)
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")  # takes the snapshot that the build waits for
        assert run("--dsn", pooler.dsn, "--force", "--online", *limits).status == 5
        reader.rollback()
        assert pooled(pooler, 2) == before


@pytest.mark.claim("one-runner-at-a-time")
def test_second_runner_names_the_first_and_exits(database: Database) -> None:
    """While one runner waits half-way, a second one exits with 6, naming its process; the first goes on.

    Otherwise two deployments at once build on each other's half-done work.
    """
    holder = database.connect(autocommit=False)
    holder.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
    first = start("--dsn", database.owner_dsn, "--force", "--lock-timeout", "10s")
    try:
        pid = wait_for_who_waits(database, holder.info.backend_pid)
        # The first holds the other tables: only the log can be looked at.
        before = database.query(f"TABLE {LOG}")
        second = run("--dsn", database.owner_dsn, "--force")
        assert second.status == 6
        assert f"process {pid} " in second.err
        assert (" from " in second.err) == (not database.server.host.startswith("/"))
        assert database.query(f"TABLE {LOG}") == before
        holder.rollback()
        out, err = first.communicate(timeout=PATIENCE)
        assert (first.returncode, err) == (0, ""), out
    finally:
        first.kill()
        first.wait()
    assert run("--dsn", database.owner_dsn, "--force").status == 0


@pytest.mark.claim("one-runner-at-a-time")
@pytest.mark.parametrize(
    ("user", "application", "lock", "words"),
    [
        (
            "authenticator",
            "psql",
            "",
            "is not a runner of Phase 1: authenticator does not have the rights of app_owner",
        ),
        ("authenticator", "phase_1", "", "is not a runner of Phase 1: authenticator does not have the rights of"),
        (OWNER, "psql", "", "does not look like a runner: its application_name is not phase_1"),
        (OWNER, "phase_1", "_shared", "is not a runner of Phase 1: it shares the lock"),
    ],
    ids=["another role", "under our name", "another application", "shared"],
)
def test_session_that_is_no_runner_is_named_with_how_to_end_it(
    templates: Templates, user: str, application: str, lock: str, words: str
) -> None:
    """Who holds the lock and is no runner is told from one, with what is known of it; the advice lets the run go on.

    Anybody may take an advisory lock, and who waits for a runner that is none waits for good.
    """
    database = templates.clone("founding-tiny")
    with database.connect(user, application_name=application) as other:
        other.execute(f"SELECT pg_advisory_lock{lock}({ADVISORY_LOCK})".encode())
        pid = other.info.backend_pid
        ended = run("--dsn", database.owner_dsn, "--force")
        assert ended.status == 6, ended.err
        assert f"process {pid} ({user}, {application}" in ended.err
        assert words in ended.err, f"who is no runner: {ended.err}"
        assert "None" not in ended.err
        assert f"as {user}, a member of that role or of pg_signal_backend, or a superuser" in ended.err
        assert database.query("SELECT to_regclass('public.migration_log')") == [(None,)]
        [advised] = re.findall(r"SELECT pg_terminate_backend\(\d+\)", ended.err)
        database.execute(advised)
        assert run("--dsn", database.owner_dsn, "--force").status == 0
    database.drop()


@pytest.mark.claim("one-runner-at-a-time")
def test_runner_that_cannot_be_looked_at_is_named_as_far_as_it_can(templates: Templates) -> None:
    """Of a runner of a role whose rights ours does not have, only what the server tells is said.

    "Since None" is no time, and nobody knows what to make of it.
    """
    database = templates.clone("founding-tiny")
    with database.connect(application_name="phase_1") as other:
        other.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})".encode())
        ended = run("--dsn", database.owner_dsn, "--force")
        assert ended.status == 6
        who = f"process {other.info.backend_pid} ({database.server.user}, phase_1)"
        assert f"another runner is at work: {who}. What to do: let it finish" in ended.err
    with database.connect(application_name="psql") as other:
        other.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})".encode())
        ended = run("--dsn", database.owner_dsn, "--force")
        assert ended.status == 6
        assert f"SELECT pg_terminate_backend({other.info.backend_pid}), as a superuser." in ended.err
    database.drop()


@pytest.mark.claim("one-runner-at-a-time")
def test_prepared_transaction_that_holds_the_lock_is_named(templates: Templates) -> None:
    """A prepared transaction that holds the lock is named: no session does, and it stays when the server is restarted.

    Whoever looks for another runner finds none.
    """
    database = templates.clone("founding-tiny")
    with database.connect(OWNER, autocommit=False) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})".encode())
        other.execute(f"PREPARE TRANSACTION '{database.name}'".encode())
    ended = run("--dsn", database.owner_dsn, "--force")
    assert ended.status == 6
    assert f"a prepared transaction, '{database.name}', of {OWNER}, holds the advisory lock of Phase 1" in ended.err
    database.drop()


@pytest.mark.claim("one-runner-at-a-time")
@MODES
def test_script_keeps_out_of_the_way_of_a_runner(database: Database, mode: list[str]) -> None:
    """What the dry run shows, run by hand while a runner is at work, waits for it as for any lock, and changes nothing.

    Otherwise a script and a runner at once build on each other's half-done work.
    """
    before = objects(database)
    script = run("--dsn", database.owner_dsn, "--dry-run", *mode, "--lock-timeout", "100ms").out
    with database.connect() as runner:
        runner.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})".encode())
        with pytest.raises(AssertionError, match="canceling statement due to lock timeout"):
            by_psql(database, script)
        assert difference(before, objects(database)) == []
    by_psql(database, script)


@pytest.mark.claim("one-runner-at-a-time")
def test_run_waits_for_the_session_of_a_runner_that_has_just_died(database: Database, proxy: Proxy) -> None:
    """A lock that is let go of a moment later, as by the session of a runner that was killed, stops nobody.

    Who starts a killed run again at once would be told of another runner, and look for it in vain.
    """
    dead = database.connect()
    dead.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})".encode())
    asked: list[str] = []

    def let_go(statement: Statement) -> None:
        if "pg_try_advisory_lock" in statement.sql:
            asked.append(statement.sql)
            if len(asked) == 3:
                dead.close()

    proxy.before(let_go)
    assert through(proxy, database).status == 0
    assert len(asked) >= 3


@pytest.mark.claim("rerun-does-nothing", "rollback-restores-schema")
def test_entries_that_are_not_ours_are_read_past(templates: Templates) -> None:
    """What others have noted under the same phase, in whatever form, keeps no command from its own entries.

    A note by hand that a backup was taken is what the rollback stumbles over.
    """
    database = templates.clone("founding")
    before = objects(database, LOG)
    columns = "id int, phase text, operation text, status text, details json"
    database.execute(f"SET ROLE app_owner; CREATE TABLE {LOG} ({columns})")
    refused = run("--dsn", database.owner_dsn, "--force", "--json")
    assert refused.status == 3
    assert "public.migration_log.details" in {each["object"] for each in refused.findings}
    database.execute(f"DROP TABLE {LOG}")
    assert run("--dsn", database.owner_dsn, "--force").status == 0
    notes = (
        f"INSERT INTO {LOG} (phase, operation, status, details)"
        " SELECT 'phase_1', operation, 'completed', details::jsonb"
        " FROM unnest(ARRAY['backup taken', 'migrate', 'pin_client(users)']) AS operation,"
        """ unnest(ARRAY['"ok"', 'null', '5', '[1]', '{"undoes": 1}']) AS details"""
        " WHERE operation = 'backup taken' OR details NOT LIKE '{%'"
    )
    database.execute(notes)
    for arguments in (["--verify"], ["--status"], [], ["--rollback", "--dry-run"], ["--rollback"]):
        done = run("--dsn", database.owner_dsn, "--force", *arguments)
        assert done.status == 0, done.err
    assert difference(before, objects(database, LOG)) == []
    database.execute(notes)
    assert "has not begun" in run("--dsn", database.owner_dsn, "--status").out
    database.drop()


class Holder:
    """A transaction of the application that holds a table, as a report that runs long does."""

    def __init__(self, database: Database, table: str) -> None:
        self._connection = database.connect("app_owner", autocommit=False, application_name="report")
        self._connection.execute(f"SELECT count(*) FROM public.{table}")
        self.pid = self._connection.info.backend_pid

    def release(self) -> None:
        self._connection.rollback()


@pytest.mark.claim("lock-waits-give-way")
@DIRECTIONS
def test_run_gives_up_and_names_who_is_in_the_way_of_any_table(database: Database, direction: list[str]) -> None:
    """Whichever tenant table is held, the run gives up in time, names the process, and leaves all as it was.

    Otherwise an operator kills sessions at random, or the run hangs with half of the locks.
    """
    ready(database, direction)
    before, before_rows = objects(database, LOG), database.rows_with_xmin()
    for table in NAMES:
        holder = Holder(database, table)
        done = run(
            "--dsn", database.owner_dsn, "--force", *direction, "--lock-timeout", "250ms", "--give-up-after", "1ms"
        )
        holder.release()
        assert done.status == 1
        # Not who it is: the password of that role, which is hidden, is its name.
        assert f"In the way: process {holder.pid} (report, " in done.err
        assert "55P03" in done.err
        assert difference(before, objects(database, LOG)) == []
    assert database.rows_with_xmin() == before_rows
    ((failures,),) = database.query(
        f"SELECT count(*) FROM {LOG} WHERE status = 'failed' AND details->>'sqlstate' = '55P03'"
    )
    assert failures == len(NAMES)


@pytest.mark.claim("lock-waits-give-way")
@pytest.mark.parametrize(
    ("arguments", "statement"),
    [
        ([], "LOCK TABLE public.users"),
        (["--online"], "ALTER TABLE public.email_logs\n    ADD COLUMN"),
        (["--rollback"], "LOCK TABLE public.users"),
        (["--rollback", "--online"], "ALTER TABLE public.email_logs\n    DROP COLUMN"),
    ],
    ids=["there", "there online", "back", "back online"],
)
def test_run_tries_again_and_succeeds_once_the_lock_is_released(
    database: Database, proxy: Proxy, arguments: list[str], statement: str
) -> None:
    """A run that has given way says to whom, tries again, and is done once the lock is released.

    Otherwise one report that runs long makes the maintenance window a failure.
    """
    if "--rollback" in arguments:
        ready(database, ["--rollback"])
    holders: list[Holder] = []
    tries: list[str] = []

    def hold_and_release(each: Statement) -> None:
        if each.sql.startswith(statement):
            tries.append(each.sql)
            if not holders:
                # The last table: in one transaction every other lock is held by then, and let go of.
                holders.append(Holder(database, "email_logs"))
        elif each.sql == BEGIN and tries:
            holders[0].release()

    proxy.before(hold_and_release)
    done = through(proxy, database, *arguments, "--lock-timeout", "250ms")
    assert done.status == 0, done.err
    assert len(tries) == 2
    found = re.findall(r"gave way, trying again in .* In the way: process (\d+) \(report, app_owner,", done.out)
    assert found == [str(holders[0].pid)]


@pytest.mark.claim("lock-waits-give-way")
@pytest.mark.parametrize(("draw", "share"), [(min, 0.5), (max, 1.5)], ids=["shortest", "longest"])
def test_pauses_between_two_tries_double_up_to_the_longest(
    templates: Templates, monkeypatch: pytest.MonkeyPatch, draw: Callable[[float, float], float], share: float
) -> None:
    """The pauses start at the lock timeout, double, and end at the longest, each half as long to half as long again.

    One that only grows sleeps through the night after the report has ended, and two alike meet again and again.
    """
    monkeypatch.setattr("random.uniform", draw)
    monkeypatch.setattr(apply, "LONGEST_PAUSE", 0.1)
    pauses: list[float] = []

    class Waiting(apply.Watch):
        def waiting(self, label: str, blockers: Sequence[str], pause: float) -> None:
            pauses.append(pause)
            if len(pauses) == 5:
                holder.release()

    database = templates.clone("founding-tiny")
    holder = Holder(database, "email_logs")
    options = parse(["--lock-timeout", "20ms"])
    sessions = apply.Sessions(database.owner_dsn)
    apply.run(look(sessions, options)[2], sessions, options, Waiting())
    sessions.close()
    assert pauses == pytest.approx([share * each for each in (0.02, 0.04, 0.08, 0.1, 0.1)])
    database.drop()


@pytest.mark.claim("lock-waits-give-way")
def test_run_that_gives_up_says_how_long_and_how_often_it_tried(templates: Templates) -> None:
    """A run that gives up says in what time it got no lock, and in how many tries.

    Who reads it has to tell a limit that is too short from a report that never ends.
    """
    database = templates.clone("founding-tiny")
    holder = Holder(database, "email_logs")
    limits = ("--lock-timeout", "250ms", "--give-up-after", "2500ms")
    began = time.monotonic()
    done = run("--dsn", database.owner_dsn, "--force", *limits)
    elapsed = time.monotonic() - began
    tries = done.out.count("gave way, trying again") + 1
    assert tries > 1
    who = rf"{tries} tries \(locking the tables\)\. In the way: process {holder.pid} "
    said = re.search(rf"no lock in (\d+\.\d) s, {who}", done.err)
    assert said, done.err
    assert 0.2 * tries < float(said[1]) < elapsed + 0.1
    holder.release()
    database.drop()


@pytest.mark.claim("lock-waits-give-way")
@DIRECTIONS
def test_application_waits_behind_the_run_no_longer_than_the_lock_timeout(
    database: Database, direction: list[str], evidence: Evidence
) -> None:
    """An application that queues up behind the run gets through while the report is still at work.

    Otherwise a migration that cannot even begin stops every page of the application.
    """
    ready(database, direction)
    timeout, slack = 0.3, 1.5
    holder = Holder(database, "users")
    application = database.connect("app_owner", application_name="application")
    waited: list[float] = []
    waits = (
        "SELECT pid FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND relation = 'public.users'::regclass"
        " AND mode = 'AccessExclusiveLock'"
    )

    def queue_up() -> None:
        wait_for(database, waits)
        began = time.monotonic()
        application.execute("SELECT count(*) FROM public.users")
        waited.append(time.monotonic() - began)

    thread = threading.Thread(target=queue_up)
    thread.start()
    done = run("--dsn", database.owner_dsn, "--force", *direction, "--lock-timeout", "300ms", "--give-up-after", "1ms")
    thread.join(PATIENCE)
    holder.release()
    assert done.status == 1
    [seconds] = waited
    evidence("milliseconds that the application waited, with a lock timeout of 300", round(seconds * 1000))
    assert seconds < timeout + slack, "the application waited behind the run for users"


@pytest.mark.claim("lock-waits-give-way")
def test_lock_timeout_is_half_of_that_of_deadlocks_at_the_most(templates: Templates) -> None:
    """Where the server looks for deadlocks early, the run gives way earlier still, unless it is told how long to wait.

    Otherwise it is the application that is told of the deadlock, and a customer sees it.
    """
    database = templates.clone("founding-tiny")
    for deadlock_timeout, arguments, expected in (
        ("1s", [], "500ms"),
        ("999ms", [], "499ms"),
        ("300ms", ["--online"], "150ms"),
        ("1min", ["--online"], "200ms"),
        ("1ms", [], "1ms"),  # none at all would be to wait for ever
        ("200ms", ["--lock-timeout", "1s"], "1000ms"),
    ):
        database.execute(f"ALTER DATABASE {database.name} SET deadlock_timeout = '{deadlock_timeout}'")
        script = run("--dsn", database.owner_dsn, "--dry-run", *arguments).out
        assert set(re.findall("SET LOCAL lock_timeout = '(.*)'", script)) == {expected}, deadlock_timeout
    database.drop()


@pytest.mark.claim("lock-waits-give-way")
def test_run_is_the_one_to_give_way_in_a_deadlock(database: Database, proxy: Proxy) -> None:
    """Where the application and the run wait for each other, the run goes before the server looks for a deadlock.

    Otherwise the application's transaction is cancelled, and a customer sees it.
    """
    application = database.connect("app_owner", autocommit=False, application_name="application")
    # Holds the last table and asks for the first, which the run has locked by then.
    application.execute("LOCK TABLE public.email_logs IN ROW EXCLUSIVE MODE")
    outcome: list[Literal["went on"] | BaseException] = []
    threads: list[threading.Thread] = []

    def ask_for_the_first() -> None:
        wait_for(
            database,
            "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'public.email_logs'::regclass",
        )
        try:
            application.execute("SELECT count(*) FROM public.users")
            application.rollback()
            outcome.append("went on")
        except psycopg.Error as error:
            outcome.append(error)

    def cross(statement: Statement) -> None:
        if statement.sql.startswith("LOCK TABLE") and not threads:
            threads.append(threading.Thread(target=ask_for_the_first))
            threads[0].start()

    proxy.before(cross)
    # Who has waited for a second looks for a deadlock, and is cancelled if it is in one.
    done = through(proxy, database, "--lock-timeout", "500ms")
    threads[0].join(PATIENCE)
    assert outcome == ["went on"]
    assert done.status == 0, done.err
