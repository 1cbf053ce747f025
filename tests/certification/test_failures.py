"""A failure at any statement: the database is as it was, the log says why, and the verdict is the server's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

import psycopg
import pytest

from migrate import _look as look
from phase_1 import apply
from phase_1.apply import COMMITTED, ROLLED_BACK, Failed, Sessions, Watch
from phase_1.fingerprint import Fingerprint, difference, fingerprint
from phase_1.options import parse
from phase_1.plan import BEGIN, Plan, Statement
from phase_1.problems import DONE, FAILED, STOPPED
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Row, Templates
from tests.plugins.server import Server
from tests.support import proxy as wire
from tests.support.looking import LOG, PATIENCE, wait_for, wait_for_the_end_of_runs, wait_for_who_waits
from tests.support.proxy import Proxy
from tests.support.runner import run
from tests.support.ways import WAYS

DIRECTIONS = pytest.mark.parametrize("direction", [[], ["--rollback"]], ids=["there", "back"])

#: In the variant that is not gone through statement by statement, every so many of them.
SAMPLE = 9
#: Every so many failures the connection is cut instead of the server process being terminated.
CUT = 5
#: What a failure leaves behind would still be there after the next ones: it is enough to look now and then.
LOOK = 4

Fault = Callable[[wire.Statement], Literal["cut"] | None]


def ready(database: Database, direction: list[str]) -> None:
    """Brings a database to where the direction starts."""
    if direction:
        done = run("--dsn", database.owner_dsn, "--force")
        assert done.status == 0, done.err


class Bench:
    """Runs plans through a proxy, one fault each, and compares the database with what it was before."""

    def __init__(self, database: Database, proxy: Proxy, direction: list[str]) -> None:
        self.database = database
        self._proxy = proxy
        self._options = parse(["--force", *direction])
        self.watcher = database.connect(application_name="suite")
        self.before: Fingerprint = fingerprint(self.watcher, exclude=[LOG])
        self._rows = database.rows_with_xmin()

    def plan(self) -> Plan:
        sessions = Sessions(self.database.owner_dsn)
        try:
            return look(sessions, self._options)[2]
        finally:
            sessions.close()

    def fail(self, plan: Plan, number: int, *, cut: bool) -> Failed:
        """Runs the plan; right before its statement of that number, from 0, the working session is lost."""
        sessions = Sessions(self._proxy.dsn(self.database.name, OWNER))
        pid = sessions.work.info.backend_pid
        sent: list[str] = []

        def fault(statement: wire.Statement) -> Literal["cut"] | None:
            if statement.connection != working or not (sent or statement.sql == BEGIN):
                return None
            sent.append(statement.sql)
            if len(sent) <= number:
                return None
            if cut:
                return "cut"
            self.watcher.execute("SELECT pg_terminate_backend(%s)", (pid,))
            self.wait_until_gone(pid)
            return None

        with sessions.alone():
            working = self._proxy.statements()[-1].connection
            self._proxy.before(fault)
            with pytest.raises(Failed) as caught:
                apply.run(plan, sessions, self._options, Watch())
        self._proxy.before(None)
        sessions.close()
        self.wait_until_gone(pid)
        assert sent == [each.sql for each in statements(plan)][: number + 1]
        return caught.value

    def wait_until_gone(self, pid: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.watcher.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
            assert time.monotonic() < deadline, f"process {pid} does not end"

    def assert_as_before(self) -> None:
        assert difference(self.before, fingerprint(self.watcher, exclude=[LOG])) == []
        assert self.database.rows_with_xmin() == self._rows

    def last_entries(self, count: int) -> list[Row]:
        return self.watcher.execute(
            f"SELECT operation, status, details->>'sqlstate', details->>'outcome' FROM {LOG} ORDER BY id DESC LIMIT %s",
            (count,),
        ).fetchall()


def statements(plan: Plan) -> list[Statement]:
    return [statement for transaction in plan.transactions for statement in transaction.statements]


def labels(plan: Plan) -> list[str]:
    """For each statement the step that a failure of it is logged with; before the first step, the run."""
    found, label = [], plan.operation
    for statement in statements(plan):
        label = statement.step or label
        found.append(label)
    return found


@pytest.mark.claim("failure-leaves-no-trace", "failure-is-logged")
@DIRECTIONS
def test_failure_at_any_statement_leaves_no_trace_but_in_the_log(
    database: Database, proxy: Proxy, direction: list[str], evidence: Evidence
) -> None:
    """The session is lost before each statement in turn: schema and rows stay, the log has the step and the state.

    Otherwise a failure in the maintenance window leaves a database that is neither the one nor the other.
    """
    ready(database, direction)
    bench = Bench(database, proxy, direction)
    plan = bench.plan()
    operation = plan.operation
    # Every step is a statement and its note at the least, so that every other statement is in every step.
    every = 2 if database.variant == "deployed" else SAMPLE
    if not direction:
        # The log comes first, in a transaction of its own: before it is there, nothing can be noted.
        creating = len(plan.transactions[0].statements)
        for number in range(0, creating, every):
            failed = bench.fail(plan, number, cut=number % CUT == 1)
            assert (failed.exit_code, failed.verdict, failed.logged) == (1, ROLLED_BACK, False)
            assert failed.label == (labels(plan)[number] if number else "migrate")
            bench.assert_as_before()
            assert database.query("SELECT to_regclass(%s)", LOG) == [(None,)]
        bench.fail(plan, creating, cut=False)
        plan = bench.plan()
    assert len(plan.transactions) == 1, "what is committed before the end stays: " + "; ".join(labels(plan))
    (transaction,) = plan.transactions
    last = len(transaction.statements) - 1
    tried = sorted({*range(0, last, every), last})
    for number in tried:
        cut = number % CUT == 1
        failed = bench.fail(plan, number, cut=cut)
        step = labels(plan)[number]
        sqlstate = failed.sqlstate
        # The reason of a terminated session arrives with it or is lost with it; that of a cut one never comes.
        assert sqlstate in ({""} if cut else {"", "57P01"})
        assert failed.label == step
        assert (failed.exit_code, failed.verdict, failed.logged) == (1, ROLLED_BACK, True)
        if number % LOOK == 0 or number == last:
            bench.assert_as_before()
        expected = [(operation, "failed", sqlstate, ROLLED_BACK)]
        if step != operation:
            expected.append((step, "failed", sqlstate, ROLLED_BACK))
        assert bench.last_entries(len(expected)) == expected
    evidence(f"statements before which a {operation} was stopped, of {last + 1}", len(tried))
    assert run("--dsn", database.owner_dsn, "--force", *direction).status == 0
    assert difference(bench.before, fingerprint(bench.watcher, exclude=[LOG])) != []


FAULT = """
    CREATE FUNCTION public.fault() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE '{object}') THEN
            RAISE 'no space left' USING ERRCODE = 'disk_full';
        END IF;
    END
    $$;
    CREATE EVENT TRIGGER fault ON ddl_command_end EXECUTE FUNCTION public.fault();
"""


@pytest.mark.claim("failure-leaves-no-trace", "failure-is-logged")
@pytest.mark.parametrize(
    ("object_", "step"),
    [
        ("public.uploads%", "add_client_id(uploads)"),
        ("public.idx\\_email%", "create_index(idx_email_logs_client_created_at)"),
        ("public.validate\\_client\\_data%", "create_validate_client_data_integrity"),
    ],
    ids=["column", "index", "function"],
)
def test_error_of_a_statement_is_told_and_logged_and_leaves_no_trace(
    database: Database, object_: str, step: str
) -> None:
    """A full disk at one statement: exit code 1, the step and the state in the message and the log, and no trace.

    Otherwise whoever is on call has to guess what is to be mended before the next try.
    """
    database.execute(FAULT.format(object=object_))
    with database.connect() as watcher:
        before, rows = fingerprint(watcher, exclude=[LOG]), database.rows_with_xmin()
        done = run("--dsn", database.owner_dsn, "--force")
        assert done.status == 1
        assert f"failed at {step}: no space left (SQLSTATE 53100)" in done.err
        assert "The connection is lost" not in done.out
        assert difference(before, fingerprint(watcher, exclude=[LOG])) == []
        assert database.rows_with_xmin() == rows
        assert database.query(
            "SELECT operation, details->>'sqlstate', details->>'error', details->>'step'"
            f" FROM {LOG} WHERE status = 'failed' ORDER BY id"
        ) == [(step, "53100", "no space left", None), ("migrate", "53100", "no space left", step)]
        # As the founding document has its readers look for the table that failed.
        documented = database.query(
            "SELECT operation FROM migration_log WHERE operation LIKE '%client_id%' AND status = 'failed'"
        )
        assert documented == ([(step,)] if "client_id" in step else [])
    database.execute("DROP EVENT TRIGGER fault")
    assert run("--dsn", database.owner_dsn, "--force").status == 0


@pytest.mark.claim("failure-is-logged", "secrets-stay-secret")
@pytest.mark.parametrize(
    ("obstacle", "told", "stored"),
    [
        (
            "ALTER TABLE public.email_logs ADD CONSTRAINT nobody CHECK (client_id IS NULL)",
            'violates check constraint "nobody" Failing row contains (',
            'new row for relation "email_logs" violates check constraint "nobody"',
        ),
        (
            "CREATE FUNCTION public.cast_it() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM NEW.recipient::uuid; RETURN NEW; END';"
            "CREATE TRIGGER cast_it BEFORE UPDATE ON public.email_logs FOR EACH ROW"
            " EXECUTE FUNCTION public.cast_it()",
            'invalid input syntax for type uuid: "alice@example.com"',
            "invalid text representation (the message may quote a value of a row and is not stored)",
        ),
    ],
    ids=["detail", "message"],
)
def test_failure_at_a_row_is_told_with_its_values_and_logged_without_them(
    templates: Templates, obstacle: str, told: str, stored: str
) -> None:
    """The person sees which row the server stumbled over; the log keeps the reason, and no value of the row.

    The log outlives the rows, and who may read it need not be who may read them.
    """
    database = templates.clone("founding-tiny")
    database.execute(
        "UPDATE public.email_logs SET recipient = 'alice@example.com';"
        "ALTER TABLE public.email_logs ADD COLUMN client_id uuid;" + obstacle
    )
    done = run("--dsn", database.owner_dsn, "--force")
    assert done.status == FAILED, done.err
    assert told in done.err
    assert "alice@example.com" in done.err
    logged = database.query(f"SELECT details->>'error' FROM {LOG} WHERE status = 'failed'")
    assert logged == [(stored,)] * 2
    assert database.query(f"SELECT FROM {LOG} AS l WHERE l::text LIKE '%alice%'") == []
    database.drop()


@pytest.mark.claim("failure-is-logged")
@pytest.mark.parametrize(("losses", "entries"), [(1, 2), (100, 0)], ids=["once", "always"])
def test_entry_whose_session_is_lost_is_written_again(
    database: Database, proxy: Proxy, losses: int, entries: int
) -> None:
    """The session that keeps the log is lost at the entry of a failure: it is written over a new one, or said to lack.

    Otherwise the one entry that everybody looks for is not there, and the message sends them to it.
    """
    database.execute(FAULT.format(object="public.uploads%"))
    lost: list[str] = []

    def lose(statement: wire.Statement) -> Literal["cut"] | None:
        if statement.sql.startswith(f"INSERT INTO {LOG}") and "'failed'" in statement.sql and len(lost) < losses:
            lost.append(statement.sql)
            return "cut"
        return None

    proxy.before(lose)
    done = run("--dsn", proxy.dsn(database.name, OWNER), "--force")
    proxy.before(None)
    assert done.status == FAILED
    assert lost
    assert ("The entry in migration_log has the details." in done.err) == bool(entries)
    assert ("There is no entry in migration_log" in done.err) == (not entries)
    assert len(database.query(f"SELECT FROM {LOG} WHERE status = 'failed'")) == entries


@pytest.mark.claim("failure-is-logged", "online-resumes")
@pytest.mark.parametrize(("losses", "status"), [(2, DONE), (100, STOPPED)], ids=["twice", "always"])
def test_build_does_not_begin_before_its_entry_is_written(
    database: Database, proxy: Proxy, losses: int, status: int
) -> None:
    """The session of the log is lost at the entry of a build: it is tried again for a while, then the run stops.

    An index without its entry is taken for the application's own, and stays there for good after the rollback.
    """
    lost: list[str] = []

    def lose(statement: wire.Statement) -> Literal["cut"] | None:
        if "outside_transaction" in statement.sql and len(lost) < losses:
            lost.append(statement.sql)
            return "cut"
        return None

    proxy.before(lose)
    limits = ("--give-up-after", "1min" if status == DONE else "1ms")
    done = run("--dsn", proxy.dsn(database.name, OWNER), "--force", "--online", *limits)
    proxy.before(None)
    assert done.status == status, done.err
    if status == STOPPED:
        assert "migration_log cannot be written to" in done.err
        assert database.query("SELECT to_regclass('public.idx_users_client_created_at')") == [(None,)]
    assert len(lost) >= 2


@pytest.mark.claim("exit-codes", "failure-is-logged")
@pytest.mark.parametrize(("tag", "status"), [("DROP FUNCTION", FAILED), ("DROP TABLE", STOPPED)])
def test_online_run_is_on_the_way_once_it_has_done_something(migrated: Database, tag: str, status: int) -> None:
    """A failure at the first step ends --online with 1, as it ends the other mode; one at a later step with 5.

    Who is told that it stopped on the way looks for what was done, and takes it back.
    """
    migrated.execute(
        "CREATE FUNCTION public.keep() RETURNS event_trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE 'nothing is dropped' USING ERRCODE = 'disk_full'; END $$;"
        f"CREATE EVENT TRIGGER keep ON ddl_command_start WHEN TAG IN ('{tag}') EXECUTE FUNCTION public.keep()"
    )
    ended = run("--dsn", migrated.owner_dsn, "--force", "--rollback", "--online")
    assert ended.status == status, ended.err
    assert ("the database is as it was" in ended.err) == (status == FAILED)
    migrated.execute("DROP EVENT TRIGGER keep")
    assert run("--dsn", migrated.owner_dsn, "--force", "--rollback", "--online").status == DONE


@pytest.mark.claim("failure-leaves-no-trace", "failure-is-logged")
def test_function_of_the_application_that_finds_no_table_is_named_with_the_cause(database: Database) -> None:
    """Where a trigger relies on the search_path, which is empty, the message says so and names its function.

    "relation does not exist", of a table that is there, sends whoever is on call the wrong way.
    """
    database.execute(
        "CREATE TABLE public.audited (tag text); GRANT INSERT ON public.audited TO PUBLIC;"
        "CREATE FUNCTION public.audit() RETURNS event_trigger LANGUAGE plpgsql"
        " AS 'BEGIN EXECUTE ''INSERT INTO audited VALUES ($1)'' USING tg_tag; END';"
        "CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION public.audit()"
    )
    done = run("--dsn", database.owner_dsn, "--force")
    assert done.status == FAILED
    assert "42P01" in done.err
    assert "function public.audit() line 1" in done.err
    assert "search_path" in done.err
    database.execute("ALTER FUNCTION public.audit() SET search_path = public")
    assert run("--dsn", database.owner_dsn, "--force").status == DONE


@pytest.mark.claim("commit-verdict-is-read-from-server", "failure-is-logged")
@WAYS
@pytest.mark.parametrize("arrived", [True, False], ids=["reply lost", "request lost"])
def test_what_became_of_a_commit_is_read_from_the_server(
    database: Database, proxy: Proxy, direction: list[str], mode: list[str], *, arrived: bool
) -> None:
    """Whether the request or the reply is lost, the run says what the server did, and so does the log.

    Otherwise a migration that is done is reported as rolled back, and somebody takes it back by hand.
    """
    ready(database, direction)
    hits: list[int] = []

    def lose(statement: wire.Statement) -> Literal["cut"] | None:
        # The commit of the work, not that of the log that is created before it.
        if statement.sql != "COMMIT;" or hits or not worked:
            return None
        hits.append(statement.number)
        return "cut"

    worked: list[str] = []

    def see(statement: wire.Statement) -> None:
        if "organizations" in statement.sql and statement.sql.startswith(("CREATE TABLE", "DROP", "ALTER")):
            worked.append(statement.sql)

    def see_and_lose(statement: wire.Statement) -> Literal["cut"] | None:
        see(statement)
        return lose(statement)

    if arrived:
        proxy.before(see)
        proxy.after(lose)
    else:
        proxy.before(see_and_lose)
    with database.connect() as watcher:
        before = fingerprint(watcher, exclude=[LOG])
        done = run("--dsn", proxy.dsn(database.name, OWNER), "--force", *direction, *mode)
        proxy.before(None)
        proxy.after(None)
        if mode:
            # Steps before this one are done either way; this one shows by what its object is now.
            committed = step_is_done(watcher, worked[0])
        else:
            committed = difference(before, fingerprint(watcher, exclude=[LOG])) != []
    assert hits
    assert committed == arrived
    verdict = COMMITTED if committed else ROLLED_BACK
    assert ("the server says that it got through" in done.err) == committed
    assert done.status == (5 if committed or mode else 1)
    operation = "rollback" if direction else "migrate"
    assert database.query(
        f"SELECT status, details->>'outcome' FROM {LOG} WHERE operation = %s ORDER BY id DESC LIMIT 1", operation
    ) == [("failed", verdict)]
    assert run("--dsn", database.owner_dsn, "--force", *direction, *mode).status == 0


def step_is_done(watcher: psycopg.Connection[Row], statement: str) -> bool:
    """Whether what the first statement about organizations makes, or takes away, is made or gone."""
    there = watcher.execute("SELECT to_regclass('public.organizations'), to_regclass('public.user_organizations')")
    organizations, memberships = there.fetchall()[0]
    if statement.startswith("CREATE TABLE public.organizations"):
        return organizations is not None
    assert statement.startswith("DROP TABLE public.user_organizations"), statement
    return memberships is None


SLOW_COMMIT = f"""
    CREATE FUNCTION public.wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        -- not by waiting for a lock, which the run would give way to
        WHILE NOT pg_try_advisory_xact_lock(71003) LOOP
            PERFORM pg_sleep(0.01);
        END LOOP;
        RETURN NULL;
    END
    $$;
    CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON {LOG} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.operation = 'migrate' AND NEW.status = 'completed')
    EXECUTE FUNCTION public.wait_at_commit();
"""


@pytest.mark.claim("commit-verdict-is-read-from-server")
def test_verdict_waits_for_a_commit_that_is_still_under_way(database: Database, proxy: Proxy) -> None:
    """The connection is lost while the server is at the COMMIT: the verdict waits for it, and is the truth.

    Otherwise a look that comes too early takes what is about to be committed for lost.
    """
    assert run("--dsn", database.owner_dsn, "--force").status == 0
    assert run("--dsn", database.owner_dsn, "--force", "--rollback").status == 0
    database.execute(SLOW_COMMIT)
    holder = database.connect()
    holder.execute("SELECT pg_advisory_lock(71003)")
    threads: list[threading.Thread] = []
    asked: list[str] = []

    def cut_in_the_middle() -> None:
        wait_for(database, "SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT;' AND state = 'active'")
        proxy.cut_all()

    def watch(statement: wire.Statement) -> None:
        if statement.sql == "COMMIT;" and not threads:
            threads.append(threading.Thread(target=cut_in_the_middle))
            threads[0].start()
        elif "txid_status" in statement.sql:
            # The runner has begun to ask; the second answer differs from the first.
            if asked:
                holder.execute("SELECT pg_advisory_unlock_all()")
            asked.append(statement.sql)

    proxy.before(watch)
    done = run("--dsn", proxy.dsn(database.name, OWNER), "--force")
    threads[0].join(PATIENCE)
    proxy.before(None)
    holder.close()
    # Whether the runner has waited for it or not.
    wait_for_the_end_of_runs(database)
    committed = database.query("SELECT to_regclass('public.organizations') IS NOT NULL") == [(True,)]
    assert ("the server says that it got through" in done.err) == committed
    assert done.status == (5 if committed else 1)
    assert len(asked) >= 2


@pytest.mark.claim("commit-verdict-is-read-from-server")
def test_verdict_waits_for_an_index_build_that_is_still_under_way(database: Database, proxy: Proxy) -> None:
    """The connection is lost while the server builds an index: the verdict waits for it, and is the truth.

    A server process that has lost its client goes on: what is asked for too early is called undone, and is done later.
    """
    cut: list[threading.Thread] = []
    asked: list[str] = []
    # The build waits for it, as for every older transaction.
    older = database.connect(autocommit=False)
    older.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def cut_in_the_middle() -> None:
        wait_for_who_waits(database, older.info.backend_pid, "CREATE INDEX CONCURRENTLY%")
        proxy.cut_all()

    def watch(statement: wire.Statement) -> None:
        if "CREATE INDEX CONCURRENTLY" in statement.sql and not cut:
            older.execute("SELECT count(*) FROM public.users")
            cut.append(threading.Thread(target=cut_in_the_middle))
            cut[0].start()
        elif cut and ("pg_stat_activity WHERE pid" in statement.sql or "'failed'" in statement.sql):
            asked.append(statement.sql)
            if len(asked) == 2:
                # The runner has asked, and asks again or says what it takes for the truth: only now does the build end.
                older.rollback()

    proxy.before(watch)
    done = run("--dsn", proxy.dsn(database.name, OWNER), "--force", "--online")
    cut[0].join(PATIENCE)
    proxy.before(None)
    assert len(asked) >= 2
    # Whether the runner has waited for it or not.
    wait_for_the_end_of_runs(database)
    [(step, outcome)] = database.query(
        f"SELECT details->>'step', details->>'outcome' FROM {LOG} WHERE operation = 'migrate' ORDER BY id DESC LIMIT 1"
    )
    index = step.removeprefix("create_index(").removesuffix(")")
    there = database.query("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('public.' || %s)", index)
    assert (outcome == COMMITTED) == (there == [(True,)]), (done.err, there)
    assert done.status == STOPPED


@pytest.mark.claim("commit-verdict-is-read-from-server")
@pytest.mark.parametrize("at", ["COMMIT", "ALTER"])
def test_verdict_is_unknown_only_after_a_commit_while_the_server_cannot_be_reached(
    database: Database, server: Server, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Where the server stays away after a COMMIT the run does not know what became of it; before one it knows.

    Otherwise it guesses, and half of the guesses are wrong; or sends somebody to look for what cannot be.
    """
    real = Sessions.usable_control
    # Half a minute of looking for the server, in a fraction of a second.
    monkeypatch.setattr(Sessions, "usable_control", lambda self, seconds=0.2: real(self, min(seconds, 0.2)))
    proxy = Proxy(server)
    commits: list[int] = []
    gone: list[int] = []

    def leave(statement: wire.Statement) -> Literal["cut"] | None:
        # The first transaction creates the log.
        if commits and statement.sql.startswith(at) and not gone:
            gone.append(statement.number)
            proxy.refuse()
            return "cut"
        if statement.sql == "COMMIT;":
            commits.append(statement.number)
        return None

    def stay_away(_: wire.Statement) -> Literal["cut"] | None:
        # One session is dropped after the other: the one that keeps the log would still be told.
        return "cut" if gone else None

    proxy.after(leave)
    proxy.before(stay_away)
    done = run("--dsn", proxy.dsn(database.name, OWNER), "--force")
    proxy.close()
    assert "There is no entry in migration_log" in done.err
    status = run("--dsn", database.owner_dsn, "--status")
    if at == "COMMIT":
        assert done.status == STOPPED
        assert "is unknown" in done.err
        # As the message advises: --status says.
        assert (status.status, "Phase 1 is done" in status.out) == (DONE, True)
    else:
        assert done.status == FAILED
        assert "Everything was rolled back" in done.err
        assert (status.status, "Phase 1 is not complete" in status.out) == (DONE, True), status.out
