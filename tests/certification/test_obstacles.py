"""What is in the way of a run: locks, a deadlock, no connection to spare, a second runner, a person at the keyboard."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psycopg
import pytest

from phase_1.fingerprint import difference
from phase_1.inventory import TABLES
from phase_1.plan import BEGIN
from phase_1.problems import DONE, FAILED, OCCUPIED, REFUSED, STOPPED, USAGE
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.support.looking import LOG, catalog, wait_for, wait_for_the_end_of_runs, wait_for_who_waits
from tests.support.pooler import Pooler
from tests.support.proxy import Proxy, Statement
from tests.support.runner import Run, run, start
from tests.support.survival import leftovers

BACK = ("--rollback",)

OPERATIONS = pytest.mark.parametrize("operation", [(), BACK], ids=["migrate", "rollback"])
MODES = pytest.mark.parametrize("mode", [(), ("--online",)], ids=["transactional", "online"])


#: How long one of the waits below may take, in seconds: far longer than it ever does.
PATIENCE = 30.0


@contextmanager
def found(templates: Templates, operation: tuple[str, ...] = ()) -> Iterator[Database]:
    """A database with a few rows, as the operation finds it."""
    database = templates.clone("founding-tiny" + ("-migrated" if operation else ""))
    yield database
    database.drop()


def go(database: Database, *arguments: str, dsn: str = "") -> Run:
    return run("--dsn", dsn or database.owner_dsn, "--force", *arguments)


@pytest.mark.claim("lock-waits-give-way", "online-resumes")
@OPERATIONS
def test_online_run_stops_at_any_table_that_is_held_and_goes_on_when_it_is_free(
    templates: Templates, operation: tuple[str, ...], evidence: Evidence
) -> None:
    """Whichever table is held, an online run stops, names the process, and goes on from there once it is free.

    Otherwise the one report that runs all night decides whether the database stays half-way.
    """
    stopped_at = []
    with found(templates) as original, found(templates, operation) as database:
        end = original if operation else database
        for table in TABLES:
            with database.connect(OWNER, autocommit=False, application_name="report") as holder:
                holder.execute(f"SELECT count(*) FROM public.{table.name}".encode())
                limits = ("--lock-timeout", "250ms", "--give-up-after", "1ms", "--concurrently-timeout", "250ms")
                ended = go(database, *operation, "--online", *limits)
                assert ended.status == STOPPED, ended.out + ended.err
                assert f"process {holder.info.backend_pid} (report, " in ended.err
                assert "55P03" in ended.err
                # As long as it has waited, and not as long as it might have.
                assert re.search(r"no lock in \d\.\d s, 1 try ", ended.err), ended.err
                holder.rollback()
            [(step,)] = database.query(
                f"SELECT details->>'step' FROM {LOG} WHERE status = 'failed' ORDER BY id DESC LIMIT 1"
            )
            stopped_at.append({"table that was held": table.name, "stopped at": step})
        assert go(database, *operation, "--online").status == DONE
        assert leftovers(database) == []
        if operation:
            assert difference(catalog(end), catalog(database)) == []
        else:
            assert go(database, "--verify").status == DONE
    evidence(f"{'rollback' if operation else 'migration'}, online, one table after the other held", stopped_at)


@pytest.mark.claim("lock-waits-give-way")
@pytest.mark.parametrize("mode", [(), ("--online",)], ids=["transactional", "online"])
def test_run_through_a_pooler_names_who_is_in_the_way(templates: Templates, mode: tuple[str, ...]) -> None:
    """Behind a pooler in session mode, too, a run says which process of the server holds the table.

    The process that a pooler tells its client of is none of the server's: whoever looks for that one sees nobody.
    """
    with found(templates) as database, database.connect(OWNER, autocommit=False, application_name="report") as holder:
        holder.execute("SELECT count(*) FROM public.uploads")
        with Pooler(database.owner_dsn, "session") as pooler:
            ended = go(database, *mode, "--lock-timeout", "250ms", "--give-up-after", "1ms", dsn=pooler.dsn)
        assert ended.status == (STOPPED if mode else FAILED), ended.err
        assert f"process {holder.info.backend_pid} (report, " in ended.err


@pytest.mark.claim("lock-waits-give-way")
def test_run_that_the_server_picks_in_a_deadlock_tries_again(templates: Templates, proxy: Proxy) -> None:
    """A run that waits for longer than it takes to find a deadlock is told of it, gives way, and is done later.

    Otherwise who gives a long lock timeout gets a failure for it.
    """
    crossed: list[threading.Thread] = []
    outcome: list[str] = []
    with found(templates) as database:
        application = database.connect(autocommit=False)
        # The run is the one to notice.
        application.execute("SET deadlock_timeout = '1min'")
        application.execute("SET ROLE app_owner")
        application.execute("LOCK TABLE public.email_logs IN ROW EXCLUSIVE MODE")

        def ask_for_the_first() -> None:
            wait_for(
                database,
                "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'public.email_logs'::regclass",
                patience=PATIENCE,
            )
            application.execute("SELECT count(*) FROM public.users")
            application.rollback()
            outcome.append("went on")

        def cross(statement: Statement) -> None:
            if statement.sql.startswith("LOCK TABLE") and not crossed:
                crossed.append(threading.Thread(target=ask_for_the_first))
                crossed[0].start()

        proxy.before(cross)
        ended = go(database, "--lock-timeout", "3s", dsn=proxy.dsn(database.name, OWNER))
        crossed[0].join(PATIENCE)
        assert outcome == ["went on"]
        assert ended.status == DONE, ended.err
        assert sum(each.sql.startswith("LOCK TABLE") for each in proxy.statements()) > 1
        [(deadlocks,)] = database.query(
            "SELECT pg_stat_get_db_deadlocks(oid) FROM pg_database WHERE datname = current_database()"
        )
        assert deadlocks == 1


@pytest.mark.claim("exit-codes", "online-resumes")
@MODES
@OPERATIONS
def test_run_without_a_connection_to_spare_says_so(
    templates: Templates, operation: tuple[str, ...], mode: tuple[str, ...]
) -> None:
    """Where the role may have one connection only the run exits with 2, and nothing is touched.

    A pool that has taken them all is what one meets at the worst hour.
    """
    with found(templates, operation) as database, limited(database, 1):
        before = catalog(database)
        ended = go(database, *operation, *mode)
        assert ended.status == USAGE, ended.out + ended.err
        assert "Phase 1 needs two" in ended.err
        assert difference(before, catalog(database)) == []
        assert leftovers(database) == []


@pytest.mark.claim("online-resumes")
@pytest.mark.parametrize("spare", [0, 1], ids=["none to spare", "one to spare"])
def test_jobs_make_do_with_the_connections_that_there_are(templates: Templates, spare: int) -> None:
    """With fewer connections than --jobs it goes on with those; with none it stops, and says how to go on.

    Half-way, "no connection" with exit code 2 would say that nothing has happened.
    """
    with found(templates) as database:
        with limited(database, 2 + spare):
            ended = go(database, "--online", "--jobs", "3")
        if spare:
            assert ended.status == DONE, ended.err
        else:
            assert ended.status == STOPPED, ended.out + ended.err
            assert "run the same command again to go on" in ended.err
            assert database.query(f"SELECT status FROM {LOG} ORDER BY id DESC LIMIT 1") == [("failed",)]
            assert go(database, "--online", "--jobs", "3").status == DONE
        assert leftovers(database) == []
        assert go(database, "--verify").status == DONE


BUILDING = (
    "SELECT query FROM pg_stat_activity"
    " WHERE datname = current_database() AND state = 'active' AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
)


@contextmanager
def reader(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A report that has begun: every build of an index waits for it."""
    with database.connect(autocommit=False, application_name="report") as report:
        report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report.execute("SELECT 1")
        yield report


@pytest.mark.claim("modes-end-alike")
def test_jobs_are_at_work_on_the_largest_tables_at_once(templates: Templates) -> None:
    """With --jobs 2 the indexes of two tables are built at a time, the longest work first, over two sessions more.

    Side by side in name only, the builds would take twice the night that was planned.
    """
    with found(templates) as database:
        work = {
            table.name: len(table.indexes) * database.query(f"SELECT count(*) FROM public.{table.name}")[0][0]
            for table in TABLES
        }
        with reader(database) as report:
            process = start("--dsn", database.owner_dsn, "--force", "--online", "--jobs", "2")
            wait_for(database, f"SELECT 1 FROM ({BUILDING}) AS building HAVING count(*) = 2", patience=PATIENCE)
            at_work = {query.split(" ON public.")[1].split()[0] for (query,) in database.query(BUILDING)}
            [(sessions,)] = database.query(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'phase_1'"
            )
            report.rollback()
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == DONE, err
        assert at_work == set(sorted(work, key=work.__getitem__)[-2:])
        assert sessions == 4


@pytest.mark.claim("online-resumes", "exit-codes")
def test_jobs_stop_where_one_of_them_cannot_go_on(templates: Templates, proxy: Proxy) -> None:
    """Where one of two builds side by side fails, the run stops, and says which and why; the next one goes on.

    A run that says nothing, or the name of another index, is started again with the cause still there.
    """
    taken = "idx_email_logs_client_created_at"

    def take_its_name(statement: Statement) -> None:
        if statement.sql.startswith("CREATE INDEX CONCURRENTLY") and taken in statement.sql:
            database.execute(f"CREATE TABLE public.{taken} ()")

    with found(templates) as database:
        proxy.before(take_its_name)
        ended = go(database, "--online", "--jobs", "2", dsn=proxy.dsn(database.name, OWNER))
        proxy.before(None)
        assert ended.status == STOPPED, ended.out + ended.err
        assert f'failed at create_index({taken}): relation "{taken}" already exists' in ended.err
        database.execute(f"DROP TABLE public.{taken}")
        assert leftovers(database) == []
        assert go(database, "--online", "--jobs", "2").status == DONE


@pytest.mark.claim("online-resumes", "exit-codes")
def test_jobs_that_are_interrupted_twice_are_cancelled(templates: Templates) -> None:
    """Ctrl-C twice ends builds side by side while what they wait for is still there, and leaves no invalid index.

    Whoever wants to stop would have to kill the runner, and with it what clears up.
    """
    with found(templates) as database:
        with reader(database):
            process = start("--dsn", database.owner_dsn, "--force", "--online", "--jobs", "2")
            wait_for(database, f"SELECT 1 FROM ({BUILDING}) AS building HAVING count(*) = 2", patience=PATIENCE)
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            assert any("Ctrl-C again cancels it" in line for line in process.stdout)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == STOPPED, err
        assert "Traceback" not in err
        assert leftovers(database) == []
        assert go(database, "--online", "--jobs", "2").status == DONE


@contextmanager
def limited(database: Database, connections: int) -> Iterator[None]:
    """The owner of the tables may have no more than so many connections in this database."""
    limit = f"ALTER DATABASE {database.name} CONNECTION LIMIT".encode()
    with database.server.connect() as session:
        session.execute(limit + b" %d" % connections)
        yield
        session.execute(limit + b" -1")


@pytest.mark.claim("lock-waits-give-way", "failure-leaves-no-trace")
@pytest.mark.parametrize(
    ("operation", "mode", "freed"),
    [
        pytest.param((), (), True, id="migrate-transactional-freed"),
        pytest.param((), ("--online",), False, id="migrate-online-kept"),
        pytest.param(BACK, (), False, id="rollback-transactional-kept"),
        pytest.param(BACK, ("--online",), True, id="rollback-online-freed"),
    ],
)
def test_run_gives_way_to_who_holds_the_log(
    templates: Templates, proxy: Proxy, operation: tuple[str, ...], mode: tuple[str, ...], *, freed: bool
) -> None:
    """Nothing is done without its entry: while the log is held, the run waits, and gives up if it stays so.

    What is done and in no log would be taken back by no rollback.
    """
    held: list[psycopg.Connection[Any]] = []
    tries: list[str] = []

    def hold(statement: Statement) -> Literal["cut"] | None:
        noting = statement.connection == 0 and statement.sql.startswith("INSERT INTO public.migration_log")
        if noting and "create_migration_log" not in statement.sql:
            tries.append(statement.sql)
            if not held:
                held.append(database.connect(autocommit=False, application_name="report"))
                held[0].execute(f"LOCK TABLE {LOG} IN EXCLUSIVE MODE".encode())
        elif tries and freed and statement.sql == BEGIN:
            held[0].rollback()
        return None

    with found(templates, operation) as database:
        before = catalog(database)
        proxy.before(hold)
        limits = ("--lock-timeout", "250ms", *(() if freed else ("--give-up-after", "1ms")))
        ended = go(database, *operation, *mode, *limits, dsn=proxy.dsn(database.name, OWNER))
        pid = held[0].info.backend_pid
        held[0].close()
        if freed:
            assert ended.status == DONE, ended.err
            assert len(tries) > 1
            return
        assert ended.status == (STOPPED if mode else FAILED), ended.err
        assert f"process {pid} (report, " in ended.err
        assert "There is no entry in migration_log" in ended.err
        assert mode or difference(before, catalog(database)) == []
        proxy.before(None)
        assert go(database, *operation, *mode).status == DONE
        assert leftovers(database) == []


@pytest.mark.claim("one-runner-at-a-time")
@MODES
def test_two_runners_at_the_same_moment_are_one_after_the_other(templates: Templates, mode: tuple[str, ...]) -> None:
    """Of two that are started at once one does it; the other exits with 6, or finds that nothing is left to do.

    Two pipelines that deploy the same commit do just that.
    """
    with found(templates) as database:
        processes = [start("--dsn", database.owner_dsn, "--force", *mode) for _ in range(2)]
        ended = [(process.communicate(timeout=PATIENCE), process.returncode) for process in processes]
        codes = sorted(code for _, code in ended)
        assert codes in ([DONE, DONE], [DONE, OCCUPIED]), f"two runners ended with {codes}: {ended}"
        [(completed,)] = database.query(
            f"SELECT count(*) FROM {LOG} WHERE (operation, status) = ('migrate', 'completed')"
        )
        assert completed == 1
        assert leftovers(database) == []
        assert go(database, "--verify").status == DONE


@pytest.mark.claim("online-resumes", "exit-codes")
@OPERATIONS
def test_online_run_that_is_interrupted_once_ends_its_statement_and_stops(
    templates: Templates, operation: tuple[str, ...]
) -> None:
    """Ctrl-C once lets the statement under way end, stops with exit code 5, and the same command goes on.

    Who wants it to stop does not want what it is just at to be for nothing.
    """
    with found(templates, operation) as database:
        with database.connect(autocommit=False) as holder:
            holder.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
            process = start("--dsn", database.owner_dsn, "--force", "--online", "--lock-timeout", "1min", *operation)
            wait_for_who_waits(database, holder.info.backend_pid, patience=PATIENCE)
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            assert any("Ctrl-C again cancels it" in line for line in process.stdout)
            holder.rollback()
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == STOPPED, err
        assert "stopped on request" in err
        assert "run the same command again to go on" in err
        assert "Traceback" not in err
        # What it was at is done: the first step of a migration on that table, or the last index of it gone.
        done = "SELECT to_regclass('public.idx_email_logs_client_created_at') IS NULL"
        if not operation:
            done = f"SELECT bool_or(status = 'completed') FROM {LOG} WHERE operation = 'add_client_id(email_logs)'"
        assert database.query(done) == [(True,)]
        assert go(database, "--online", *operation).status == DONE
        assert leftovers(database) == []


@pytest.mark.claim("online-resumes", "exit-codes")
@pytest.mark.parametrize("jobs", [(), ("--jobs", "2")], ids=["alone", "jobs"])
def test_run_says_what_it_still_waits_for_and_leaves_it_when_interrupted_again(
    templates: Templates, jobs: tuple[str, ...]
) -> None:
    """Ctrl-C twice cancels a build; clearing up behind it is said, and a third time leaves that to the next run.

    Who presses it again and again, and sees nothing, kills the process.
    """
    with found(templates, BACK) as database:
        database.execute("DROP INDEX public.idx_uploads_client_user_id")
        with database.connect(autocommit=False) as reader:
            # The build waits for its snapshot, and what drops the index for its lock.
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM public.uploads")
            process = start("--dsn", database.owner_dsn, "--force", "--online", *jobs)
            assert process.stdout is not None
            wait_for_who_waits(database, reader.info.backend_pid, "CREATE INDEX%", patience=PATIENCE)
            for said in ("Ctrl-C again cancels it", "Ctrl-C leaves it"):
                process.send_signal(signal.SIGINT)
                assert any(said in line for line in process.stdout), said
            wait_for_who_waits(database, reader.info.backend_pid, "DROP INDEX%", patience=PATIENCE)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == STOPPED, err
        assert "run the same command again to go on" in err
        assert "Traceback" not in err
        assert leftovers(database) != []
        assert go(database, "--online", *jobs).status == DONE
        assert leftovers(database) == []


@pytest.mark.claim("one-runner-at-a-time", "faults-are-survived")
@MODES
def test_server_leaves_a_wait_whose_runner_was_killed(templates: Templates, mode: tuple[str, ...]) -> None:
    """A statement that waits for somebody is given up within seconds once nobody is there to hear of it.

    Otherwise the next run is told of another runner for as long as the wait goes on, ten minutes for a build.
    """
    with found(templates, BACK if mode else ()) as database:
        if mode:
            database.execute("DROP INDEX public.idx_uploads_client_user_id")
        with database.connect(autocommit=False) as reader:
            # A build waits for its snapshot, anything else for its lock.
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM public.uploads")
            process = start("--dsn", database.owner_dsn, "--force", *mode, "--lock-timeout", "1min")
            wait_for_who_waits(database, reader.info.backend_pid, patience=PATIENCE)
            process.kill()
            process.communicate()
            looks_after_its_client = (
                "SELECT version() LIKE '%linux%' AND current_setting('server_version_num')::int >= 140000"
            )
            if database.query(looks_after_its_client) != [(True,)]:
                reader.rollback()
            wait_for_the_end_of_runs(database)
        assert go(database, *mode).status == DONE
        assert leftovers(database) == []


@pytest.mark.claim("stalls-are-bounded", "faults-are-survived")
def test_run_that_hangs_loses_its_locks(templates: Templates) -> None:
    """Where the runner does not go on in the middle of its transaction, the server takes the locks from it.

    Otherwise a laptop that is closed at night keeps the application from its tables until it is opened.
    """
    with found(templates) as database:
        before = catalog(database)
        with database.connect(autocommit=False) as reader:
            reader.execute("SELECT count(*) FROM public.email_logs")
            process = start("--dsn", database.owner_dsn, "--force", "--lock-timeout", "1min")
            pid = wait_for_who_waits(database, reader.info.backend_pid, patience=PATIENCE)
            process.send_signal(signal.SIGSTOP)
        # It has every lock that it wanted, and hears nothing of it.
        wait_for(database, "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)", pid)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, "rolled back" in err) == (FAILED, True), err
        assert difference(before, catalog(database)) == []
        assert go(database).status == DONE


@pytest.mark.claim("preflight-refuses", "exit-codes")
@OPERATIONS
def test_online_run_refuses_to_wait_for_a_prepared_transaction(
    templates: Templates, operation: tuple[str, ...]
) -> None:
    """A prepared transaction that holds a table is named before anything is touched: nobody sees it, and it stays.

    No session shows it, so that whoever looks for what is in the way finds nothing.
    """
    with found(templates, operation) as database:
        before = catalog(database)
        with database.connect(autocommit=False) as session:
            session.execute("SELECT count(*) FROM public.uploads")
            session.execute(f"PREPARE TRANSACTION '{database.name}'".encode())
        ended = go(database, "--online", *operation)
        assert ended.status == REFUSED, ended.out + ended.err
        assert f"prepared transaction '{database.name}'" in ended.err
        assert f"ROLLBACK PREPARED '{database.name}'" in ended.err
        assert difference(before, catalog(database)) == []
        database.execute(f"ROLLBACK PREPARED '{database.name}'")
        assert go(database, "--online", *operation).status == DONE
