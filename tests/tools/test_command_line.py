"""The runner's front door: every wrong turn ends in one message, one exit code, and an untouched database."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import struct
import threading

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from phase_1 import problems
from phase_1.connection import Session, describe
from phase_1.fingerprint import difference, fingerprint
from phase_1.options import parse
from tests.plugins.database import OWNER, Database, Templates
from tests.support.embedded import Cluster
from tests.support.looking import wait_for_who_waits
from tests.support.proxy import Proxy
from tests.support.runner import WHERE, Run, at_a_terminal, run, start

_PASSWORD = "p@ss:w/ör?d%"  # noqa: S105 - as nasty as they come, and nobody's
_PATIENCE = 20.0

exit_codes = pytest.mark.claim("exit-codes")


def _environment(**more: str) -> dict[str, str]:
    """The environment without anything that says where a database is."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(WHERE)}
    return {**kept, **more}


def _program(*arguments: str, **environment: str) -> Run:
    with start(*arguments, environment=_environment(**environment)) as process:
        out, err = process.communicate(timeout=_PATIENCE * 3)
    return Run(process.returncode, out, err)


def _is_one_clear_message(ended: Run) -> bool:
    return bool(ended.err.strip()) and "Traceback" not in ended.err + ended.out


@exit_codes
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rollbck"], "--rollbck"),
        (["--roll"], "--roll"),
        (["--skip-table", "sales"], "there is no such name; there are users"),
        (["--skip-table", "users"], "cannot be left out"),
        (["--skip-index", "idx_nothing"], "there is no such name; there are idx_users_client_created_at"),
        (["--column", "uploads"], "write it as TABLE.created_at=ACTUAL"),
        (["--column", "uploads.received_at=made"], "write it as TABLE.created_at=ACTUAL"),
        (["--column", "products.created_at=made"], "products has no index on a time column"),
        (["--lock-timeout", "soon"], "not a duration"),
        (["--lock-timeout", "0ms"], "not a duration"),
        (["--purge-log"], "goes with --rollback"),
        (["--rollback", "--skip-table", "email_logs"], "the log knows"),
        (["--rollback", "--skip-index", "idx_products_client_ean"], "the log knows"),
        (["--rollback", "--dry-run", "--column", "uploads.created_at=finished_at"], "the log knows"),
        (["--verify", "--dry-run"], "changes nothing anyway"),
        (["--rollback", "--verify"], "not allowed with"),
        (["--jobs", "2"], "goes with --online"),
        (["--online", "--jobs", "0"], "1 or more"),
        (["--trusted-key", "trusted.pub"], "--trusted-key goes with --certificate"),
        (["--strict"], "--strict goes with --certificate"),
        (["--verify", "--certificate", "certificate.json"], "changes nothing anyway"),
        (["--certificate", "nowhere.json"], "No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_said_before_anything_is_connected_to(arguments: list[str], words: str) -> None:
    """A command line that cannot be meant is refused with what there is instead, and exit code 2.

    A misspelt --skip-table would migrate the table that was to be left out.
    """
    ended = run("--dsn", "postgresql://127.0.0.1:1/nowhere", *arguments)
    assert ended.status == problems.USAGE
    assert words in ended.err
    assert "no connection" not in ended.err
    assert _is_one_clear_message(ended)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ([], {"action": "migrate", "mode": "transactional", "lock_timeout": 500, "give_up_after": 120_000, "jobs": 1}),
        (["--force"], {"force": True, "concurrently_timeout": 600_000, "dry_run": False, "purge_log": False}),
        (["--online"], {"mode": "online", "lock_timeout": 200}),
        (["--online", "--lock-timeout", "1ms"], {"lock_timeout": 1}),
        (["--lock-timeout", "2 s", "--give-up-after", "3min"], {"lock_timeout": 2000, "give_up_after": 180_000}),
        (["--jobs", "1"], {"jobs": 1}),
        (["--online", "--jobs", "2"], {"jobs": 2}),
        (["--rollback", "--purge-log", "--dry-run"], {"action": "rollback", "purge_log": True, "dry_run": True}),
        (["--verify", "--skip-table", "uploads"], {"action": "verify", "skipped_tables": frozenset(["uploads"])}),
        (["--column", "uploads.created_at=a=b"], {"columns": {"uploads": "a=b"}}),
        (["--rollback", "--certificate", "c", "--strict"], {"certificate": "c", "strict": True, "trusted_key": None}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_command_line_is_read_as_it_is_meant(arguments: list[str], meant: dict[str, object]) -> None:
    """What is said is what is done, and what is not said is what --help says of it.

    A limit of two minutes for one of two seconds keeps an application waiting for a minute.
    """
    options = parse(arguments)
    assert {name: getattr(options, name) for name in meant} == meant


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@exit_codes
@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://someone@127.0.0.1:{closed}/app", "check the host, the port"),
        ("postgresql://someone@no-such-host.invalid/app", "check the name of the host"),
        ("host=127.0.0.1 port=", "no connection"),
        ("postgresql://u:%zz@127.0.0.1/app", "is not a connection string"),
    ],
    ids=["closed-port", "unknown-host", "no-port", "not-a-dsn"],
)
def test_database_that_cannot_be_reached_is_named(dsn: str, words: str) -> None:
    """Without a connection the message says where it was tried, why it failed and what to check; exit code 2.

    The first thing that goes wrong is the DSN.
    """
    ended = run("--dsn", dsn.format(closed=_closed_port()), "--force")
    assert ended.status == problems.USAGE
    assert words in ended.err
    assert _is_one_clear_message(ended)


@exit_codes
@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://someone@127.0.0.1/app?pgbouncer=true", "--dsn has the parameter pgbouncer,"),
        ("postgresql://someone:s3cret@127.0.0.1/app?sslmode=prefer&schema=public", "--dsn has the parameter schema,"),
        ("host=127.0.0.1 connection_limit=1 user=someone", "--dsn has the parameter connection_limit,"),
        ("https://abcdefgh.supabase.co", "--dsn is the address of a web page or of an API"),
        ("mysql://someone@127.0.0.1/app", "--dsn is not a connection string"),
    ],
    ids=["pgbouncer", "schema", "keyword", "https", "another database"],
)
def test_connection_string_of_another_tool_is_told_from_a_mistake(dsn: str, words: str) -> None:
    """A parameter that is another driver's is named, and an address of a web API is called that; exit code 2.

    The string works in the application, and whoever copied it looks for the mistake in the password.
    """
    ended = run("--dsn", dsn, "--force")
    assert ended.status == problems.USAGE
    assert words in ended.err
    assert "s3cret" not in ended.err
    assert _is_one_clear_message(ended)


@pytest.mark.parametrize(
    "wrapped",
    ["{}\n", " {} ", '"{}"', "'{}'\n", "jdbc:{}", "{psycopg}", "{asyncpg}"],
    ids=["line feed", "blanks", "quotes", "single quotes", "java", "postgres+psycopg2", "postgresql+asyncpg"],
)
def test_connection_string_as_other_tools_keep_it_is_understood(database: Database, wrapped: str) -> None:
    """A driver in the scheme, and quotes and a line feed as an .env file leaves them, do not stand in the way.

    What means one thing only is no reason to send somebody away at night.
    """
    dsn = database.owner_dsn
    rest = dsn.partition("://")[2]
    given = wrapped.format(dsn, psycopg=f"postgres+psycopg2://{rest}", asyncpg=f"postgresql+asyncpg://{rest}")
    assert run("--status", "--dsn", given).status == 0
    assert _program("--status", DATABASE_URL=given).status == 0


@exit_codes
@pytest.mark.parametrize("name", ["SUPABASE_DB_URL", "DIRECT_URL", "POSTGRES_URL"])
def test_variable_of_another_tool_is_named(database: Database, name: str) -> None:
    """Where only another tool's variable says where the database is, it is named, and not taken; exit code 2.

    libpq would look for a database on this very machine instead.
    """
    ended = _program("--status", **{name: database.owner_dsn})
    assert ended.status == problems.USAGE
    assert f'give it with --dsn "${name}"' in ended.err
    assert _program("--status", **{name: "nowhere", "DATABASE_URL": database.owner_dsn}).status == 0


@pytest.mark.parametrize(
    ("dsn", "environment", "words"),
    [
        ("host=a hostaddr=192.0.2.1 port=1 user=u dbname=d password=p", {}, "database d on a:1 as u"),
        ("hostaddr=192.0.2.1 user=u", {"PGHOST": "b"}, "database u on 192.0.2.1:5432 as u"),
        ("host=a port=1 user=u dbname=d", {"PGHOST": "b", "PGPORT": "2", "PGUSER": "v", "PGDATABASE": "e"},
         "database d on a:1 as u"),
        ("", {"PGHOST": "b", "PGPORT": "2", "PGUSER": "v", "PGDATABASE": "e"}, "database e on b:2 as v"),
        ("", {}, "database the operating system's user on the local socket:5432 as the operating system's user"),
    ],
    ids=["all", "address", "before the environment", "environment", "nothing"],
)  # fmt: skip
def test_connection_is_described_as_libpq_takes_it(
    monkeypatch: pytest.MonkeyPatch, dsn: str, environment: dict[str, str], words: str
) -> None:
    """What a message calls the database is what libpq connects to: the DSN, else the environment, else its defaults.

    Whoever reads it would look for the mistake on another server.
    """
    for name in os.environ:
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert describe(dsn) == words


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("fe_sendauth: no password supplied", "the user and the password"),
        ('FATAL: Peer authentication failed for user "x"', "the user and the password"),
        ('FATAL: database "x" does not exist', "the name of the database and of the role"),
        ("FATAL: sorry, too many clients already", "no connection to spare"),
        ("FATAL: remaining connection slots are reserved", "no connection to spare"),
        ('could not translate host name "x" to address', "the name of the host"),
        ("[Errno -2] Name or service not known", "the name of the host"),
        ("failed to resolve host 'x'", "the name of the host"),
        ("connection timeout expired", "the firewall"),
        ("Connection timed out", "the firewall"),
        ("Connection refused", "that the server is up"),
    ],
)
def test_reason_of_libpq_leads_to_what_to_check(monkeypatch: pytest.MonkeyPatch, reason: str, advice: str) -> None:
    """For each reason why there is no connection the message says what to look at, and of the others nothing.

    Who is told to look at the firewall does not correct the password.
    """
    everything = {
        "the user and the password", "the name of the database and of the role", "no connection to spare",
        "the name of the host", "the firewall", "that the server is up",
    }  # fmt: skip

    def refuse(**_: object) -> None:
        raise psycopg.OperationalError(reason)

    monkeypatch.setattr(Session, "connect", refuse)
    ended = run("--dsn", "host=here")
    assert ended.status == problems.USAGE
    assert f": {reason}. What to do: " in ended.err
    assert [each for each in everything if each in ended.err] == [advice]


@exit_codes
@pytest.mark.claim("secrets-stay-secret")
@pytest.mark.parametrize("source", ["--dsn", "--dsn unencoded", "DATABASE_URL", "SUPABASE", "PG"])
def test_wrong_password_is_said_and_not_shown(database: Database, source: str) -> None:
    """A wrong password is refused with exit code 2, from whichever place it came, and shown in no form.

    Logs of a deployment are read by more people than its passwords are for.
    """
    server = database.server
    encoded = "p%40ss%3Aw%2F%C3%B6r%3Fd%25"
    url = f"postgresql://{OWNER}:{encoded}@{server.host}:{server.port}/{database.name}"
    wild = f"postgresql://{OWNER}:{_PASSWORD}@{server.host}:{server.port}/{database.name}"
    where = {"host": server.host, "port": str(server.port), "user": OWNER, "dbname": database.name}
    supabase = {"host": "SUPABASE_DB_HOST", "port": "SUPABASE_DB_PORT", "dbname": "SUPABASE_DB_NAME"}
    arguments, environment = {
        "--dsn": (["--dsn", url], {}),
        "--dsn unencoded": (["--dsn", wild], {}),
        "DATABASE_URL": ([], {"DATABASE_URL": url}),
        "SUPABASE": (
            [],
            {
                **{supabase[key]: value for key, value in where.items() if key in supabase},
                "SUPABASE_SERVICE_ROLE_USER": OWNER,
                "SUPABASE_SERVICE_ROLE_PASSWORD": _PASSWORD,
            },
        ),
        "PG": ([], {"PGHOST": where["host"], "PGPORT": where["port"], "PGUSER": OWNER, "PGPASSWORD": _PASSWORD,
                    "PGDATABASE": where["dbname"]}),
    }[source]  # fmt: skip
    ended = _program("--status", "--json", *arguments, **environment)
    assert ended.status == problems.USAGE
    assert _is_one_clear_message(ended)
    for part in (_PASSWORD, encoded, "p@ss", "w/ör", "ör?d"):
        assert part not in ended.out + ended.err
    if source != "--dsn unencoded":
        assert "check the user and the password" in ended.err
        assert json.loads(ended.out)["exit_code"] == problems.USAGE
    else:
        assert "percent-encoded" in ended.err


@pytest.mark.claim("secrets-stay-secret")
def test_right_password_is_in_no_output_and_no_log(database: Database) -> None:
    """A whole migration, its log and its JSON hold the password in no form.

    The log stays in the database for good.
    """
    role = f"secretive_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{_PASSWORD}' IN ROLE {OWNER}")
    try:
        dsn = make_conninfo(database.server.dsn_without_password(database.name), user=role, password=_PASSWORD)
        migrated = _program("--force", "--dsn", dsn)
        assert migrated.status == 0, migrated.err
        as_json = _program("--verify", "--json", "--dsn", dsn)
        logged = str(database.query("SELECT * FROM public.migration_log"))
        assert role in logged
        for text in (migrated.out, migrated.err, as_json.out, as_json.err, logged):
            assert _PASSWORD not in text
        assert run("--rollback", "--force", "--dsn", dsn).status == 0
    finally:
        database.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


@exit_codes
def test_source_of_the_dsn_is_the_first_that_is_given(database: Database) -> None:
    """--dsn goes before DATABASE_URL, that before SUPABASE_*, that before libpq's own.

    Staging's shell would migrate production.
    """
    nowhere = f"postgresql://127.0.0.1:{_closed_port()}/nowhere"
    supabase = {
        "SUPABASE_DB_HOST": database.server.host,
        "SUPABASE_DB_PORT": str(database.server.port),
        "SUPABASE_DB_NAME": database.name,
        "SUPABASE_SERVICE_ROLE_USER": OWNER,
        "SUPABASE_SERVICE_ROLE_PASSWORD": OWNER,
    }
    assert _program("--status", "--dsn", database.owner_dsn, DATABASE_URL=nowhere).status == 0
    assert _program("--status", DATABASE_URL=database.owner_dsn, **{**supabase, "SUPABASE_DB_PORT": "1"}).status == 0
    assert _program("--status", PGHOST="127.0.0.1", PGPORT="1", **supabase).status == 0


class _OldServer:
    """Says that it is PostgreSQL 11, and nothing else.

    There is no server of that age to be had, and the suite has no mock of one that it could have; the version
    is told in the greeting, before a statement is sent, so a greeting is all that this is.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    self._greet(client)

    def _greet(self, client: socket.socket) -> None:
        while struct.unpack("!ii", client.recv(8, socket.MSG_PEEK))[1] != 196608:  # the protocol's version 3.0
            client.recv(8)
            client.sendall(b"N")
        client.recv(10_000)
        status = b"server_version\x0011.22\x00"
        client.sendall(
            struct.pack("!cii", b"R", 8, 0)
            + struct.pack("!ci", b"S", 4 + len(status))
            + status
            + struct.pack("!ciii", b"K", 12, 1, 1)
            + struct.pack("!cic", b"Z", 5, b"I")
        )
        client.recv(10_000)

    def close(self) -> None:
        self._listener.close()


@exit_codes
def test_postgresql_11_is_refused() -> None:
    """A server older than 12 is refused with exit code 3 before a statement is sent.

    The statements would fail one by one, in the middle of the night.
    """
    with contextlib.closing(_OldServer()) as old:
        ended = run("--force", "--dsn", f"postgresql://someone@127.0.0.1:{old.port}/app?sslmode=disable")
    assert ended.status == problems.REFUSED
    assert "PostgreSQL 11.22" in ended.err
    assert "12 or later" in ended.err
    assert _is_one_clear_message(ended)


@exit_codes
def test_standby_is_refused() -> None:
    """A standby is refused with exit code 3, and the message says to go to the primary.

    The host name in a configuration file is the replica's more often than one thinks.
    """
    from tests.application import load  # noqa: PLC0415 - the only test here that makes its own server

    with Cluster.create(settings={"wal_level": "replica"}) as primary:
        with psycopg.connect(primary.superuser_dsn, autocommit=True) as connection:
            connection.execute(load.ROLES.read_bytes())
            connection.execute("CREATE DATABASE app")
        with psycopg.connect(make_conninfo(primary.superuser_dsn, dbname="app"), autocommit=True) as connection:
            load.create(connection, "founding")
        # A standby that has nothing to replay is one all the same: it is in recovery.
        primary.stop()
        (primary.data_directory / "standby.signal").touch()
        primary.start()
        dsn = make_conninfo(primary.superuser_dsn, dbname="app", user=OWNER, password=OWNER)
        runs = [run("--force", "--dsn", dsn, *mode) for mode in ([], ["--online"])]
    for ended in runs:
        assert ended.status == problems.REFUSED
        assert "is a standby" in ended.err
        assert "connect to the primary" in ended.err


@pytest.mark.claim("asks-before-changing", "exit-codes")
@pytest.mark.parametrize("arguments", [[], ["--rollback"]], ids=["migration", "rollback"])
def test_nothing_is_changed_without_a_terminal_and_without_force(templates: Templates, arguments: list[str]) -> None:
    """Where nobody can be asked, and --force is not given, nothing happens, with exit code 2.

    A cron job would migrate, or a closed terminal be taken for a yes.
    """
    database = templates.clone("founding-migrated" if arguments else "founding")
    with database.connect() as connection:
        before = fingerprint(connection)
        ended = _program("--dsn", database.owner_dsn, *arguments)
        assert ended.status == problems.USAGE, f"exit code {ended.status} without a terminal: {ended.out}{ended.err}"
        assert "--force" in ended.err
        assert difference(before, fingerprint(connection)) == []
    database.drop()


def _at_a_terminal(dsn: str, answers: list[str], *arguments: str) -> tuple[int, str]:
    """Runs the program on a terminal of 80 columns, and answers its questions in turn."""
    environment = _environment(TERM="xterm", COLUMNS="80", LINES="24")
    return at_a_terminal("--dsn", dsn, *arguments, answers=answers, environment=environment)


@pytest.mark.claim("asks-before-changing")
def test_person_at_a_terminal_is_asked(templates: Templates) -> None:
    """It takes two yeses to migrate, and the words to roll back; anything else touches nothing.

    One wrong key would be enough.
    """
    database = templates.clone("founding")

    def there() -> bool:
        return bool(database.query("SELECT to_regclass('public.organizations') IS NOT NULL")[0][0])

    code, said = _at_a_terminal(database.owner_dsn, ["y", "n"])
    assert (code, there()) == (problems.REFUSED, False), said
    assert "nothing was touched" in said
    code, said = _at_a_terminal(database.owner_dsn, ["y", "y"])
    assert (code, there()) == (0, True), said
    assert "Has a backup been taken" in said
    code, said = _at_a_terminal(database.owner_dsn, ["permanently delete"], "--rollback")
    assert (code, there()) == (problems.REFUSED, True), said
    code, said = _at_a_terminal(database.owner_dsn, ["PERMANENTLY DELETE"], "--rollback")
    assert (code, there()) == (0, False), said
    assert "loses for good" in said
    database.drop()


@pytest.mark.claim("asks-before-changing")
def test_yes_to_a_plan_that_is_another_by_now_is_not_taken(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the steps to do have changed while somebody read the question, nothing is touched, with exit code 3.

    The yes was said to something else; the question may have stood there all night.
    """
    database = templates.clone("founding")

    def answer() -> str:
        database.execute("SET ROLE app_owner; ALTER TABLE public.email_logs ADD COLUMN IF NOT EXISTS client_id uuid")
        return "y"

    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    ended = run("--dsn", database.owner_dsn)
    assert ended.status == problems.REFUSED, f"exit code {ended.status}: {ended.err}"
    assert "has changed while it was asked" in ended.err
    assert database.query("SELECT to_regclass('public.migration_log') IS NULL") == [(True,)]
    database.drop()


@exit_codes
def test_interrupted_run_leaves_the_database_as_it_was(database: Database) -> None:
    """Ctrl-C in the middle ends with one message, exit code 1, an entry in the log, and nothing changed.

    Who sees that it takes too long presses Ctrl-C.
    """
    with database.connect() as connection:
        before = fingerprint(connection, exclude=["public.migration_log"])
        with database.connect(autocommit=False) as holder:
            # The last table to be locked: the others are locked by then.
            holder.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
            process = start("--force", "--lock-timeout", "10s", "--dsn", database.owner_dsn, environment=_environment())
            wait_for_who_waits(database, holder.info.backend_pid)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=_PATIENCE)
        assert process.returncode == problems.FAILED, out + err
        assert "interrupted from the keyboard" in err
        assert "the database is as it was" in err
        assert "Traceback" not in err
        assert difference(before, fingerprint(connection, exclude=["public.migration_log"])) == []
        entry = connection.execute(
            "SELECT details ->> 'error' FROM public.migration_log WHERE status = 'failed' ORDER BY id DESC LIMIT 1"
        ).fetchone()
        assert entry == ("interrupted from the keyboard",)


@exit_codes
def test_json_is_all_that_standard_output_has(database: Database) -> None:
    """With --json standard output is one JSON document, whatever the outcome.

    A pipeline that gates on it would stumble over a word.
    """
    for arguments, status in (
        (["--dry-run"], 0),
        (["--force"], 0),
        (["--force"], 0),
        (["--status"], 0),
        (["--verify"], 0),
        (["--skip-table", "x"], problems.USAGE),
        (["--column", "users.created_at=nothing", "--dry-run"], problems.REFUSED),
        (["--rollback", "--force"], 0),
    ):
        ended = run("--dsn", database.owner_dsn, "--json", *arguments)
        assert ended.status == status, ended.err
        assert ended.json["exit_code"] == status, arguments


@exit_codes
def test_status_says_where_the_migration_stands(database: Database) -> None:
    """--status says whether Phase 1 has not begun, is not complete, is done or would be refused, with the last entries.

    Who takes over at night would start again what is half done, or take for done what is not.
    """

    def status() -> Run:
        ended = run("--status", "--dsn", database.owner_dsn)
        assert ended.status == 0, ended.err
        return ended

    assert "Phase 1 has not begun." in status().out
    assert "Last entries of the log" not in status().out
    assert run("--force", "--dsn", database.owner_dsn).status == 0
    said = status().out
    assert "Phase 1 is done." in said
    assert re.search(r"^at +operation +status\n\S+ \S+  verify +completed\n\S+ \S+  migrate +completed$", said, re.M)
    log = run("--status", "--json", "--dsn", database.owner_dsn).json["log"]
    assert [entry[1:] for entry in log[:2]] == [["verify", "completed", "None"], ["migrate", "completed", "None"]]
    assert len(log) == 10
    database.execute("DROP INDEX public.idx_products_client_ean")
    said = status().out
    assert "Phase 1 is not complete." in said
    assert re.search(r"^  create_index$", said, re.M)
    database.execute("ALTER TABLE public.products RENAME ean TO code")
    said = status().out
    assert "would be refused: see the errors above" in said
    assert "--skip-index idx_products_client_ean" in said


@exit_codes
@pytest.mark.parametrize(
    ("stopped", "why"),
    [(KeyboardInterrupt(), "interrupted"), (psycopg.OperationalError("gone\nfor good"), "gone for good")],
    ids=["interrupted", "lost"],
)
def test_checks_that_cannot_be_run_do_not_hide_that_all_is_migrated(
    database: Database, monkeypatch: pytest.MonkeyPatch, stopped: BaseException, why: str
) -> None:
    """Where the checks after a migration cannot be run, it says that all is committed, why, and --verify; exit code 4.

    Somebody would restore the backup of a database that is as it should be.
    """

    def stop(*_: object) -> None:
        raise stopped

    monkeypatch.setattr("migrate.report", stop)
    ended = run("--force", "--dsn", database.owner_dsn)
    assert ended.status == problems.VIOLATIONS
    assert f"migrated and committed, but the checks could not be run: {why}. What to do: --verify." in ended.err
    monkeypatch.undo()
    assert run("--verify", "--dsn", database.owner_dsn).status == 0


@pytest.fixture
def narrow(database: Database) -> str:
    """What a terminal of 80 columns shows of a dry run and a migration."""
    return _at_a_terminal(database.owner_dsn, ["y", "y"])[1]


def test_output_fits_a_terminal_of_80_columns(narrow: str) -> None:
    """Nothing that is said on a terminal of 80 columns is cut off by it.

    The end of the line is where it says what to do.
    """
    visible = [line.split("\r")[-1] for line in narrow.replace("\r\n", "\n").split("\n")]
    assert any("steps to do" in line for line in visible)
    assert "…" not in narrow


def test_every_line_on_a_terminal_of_80_columns_is_whole(narrow: str) -> None:
    """No line is wider than the terminal, and no word of a message is broken in two by it.

    What is to be done stands at the end of the line.
    """
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", narrow)
    lines = [part for line in plain.split("\n") for part in line.split("\r")]
    assert max(map(len, lines)) <= 80
    for message in ("Has a backup been taken that can be restored?", "Phase 1 is done: every row has a client."):
        assert message in " ".join(plain.split())


@pytest.mark.claim("asks-before-changing")
def test_terminal_that_goes_away_is_no_yes(database: Database) -> None:
    """An end of the input at a question is a no, with exit code 3 and nothing touched.

    A connection that drops while the question stands would migrate.
    """
    code, said = _at_a_terminal(database.owner_dsn, ["y", "\x04"])
    assert code == problems.REFUSED, f"the end of the input was a yes: {said}"
    assert "not confirmed: nothing was touched" in said
    assert database.query("SELECT to_regclass('public.migration_log') IS NULL") == [(True,)]


@exit_codes
@pytest.mark.claim("online-resumes")
def test_interrupted_online_run_says_how_to_go_on_and_goes_on(database: Database) -> None:
    """Ctrl-C stops an online run after its statement, a second one cancels that; exit code 5, and a run completes it.

    Who stops it in the middle has to know that the application is safe, and what to do next.
    """
    with database.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
        arguments = ("--force", "--online", "--lock-timeout", "1min", "--dsn", database.owner_dsn)
        process = start(*arguments, environment=_environment())
        wait_for_who_waits(database, holder.info.backend_pid)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert any("Ctrl-C again cancels it" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == problems.STOPPED, err
    assert "interrupted from the keyboard" in err
    assert "run the same command again to go on, or take it back with --rollback --online" in err
    assert "Traceback" not in err
    assert run("--force", "--online", "--dsn", database.owner_dsn).status == 0


@exit_codes
@pytest.mark.claim("commit-verdict-is-read-from-server")
def test_interrupt_while_a_lost_server_is_waited_for_promises_nothing(database: Database, proxy: Proxy) -> None:
    """Ctrl-C while the runner waits for a server that went away ends with "unknown" and exit code 5.

    That nothing was changed would be said of six tables that are.
    """
    with database.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
        dsn = proxy.dsn(database.name, OWNER)
        process = start("--force", "--online", "--lock-timeout", "1min", "--dsn", dsn, environment=_environment())
        wait_for_who_waits(database, holder.info.backend_pid)
        proxy.refuse()
        assert process.stdout is not None
        assert any("The connection is lost: looking for the server" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert any("Ctrl-C again cancels it" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == problems.STOPPED, err
    assert "interrupted from the keyboard" in err
    assert "unknown" in err
    assert "failed at add_client_id(email_logs): " in err
    assert "migrate.py --status" in err
    assert "Traceback" not in err
    assert database.query(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'uploads'::regclass AND attname = 'client_id'"
    )


@exit_codes
@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ("ALTER TABLE public.email_logs RENAME TO mails", [], "--skip-table email_logs"),
        ("ALTER TABLE public.products RENAME ean TO code", [], "--skip-index idx_products_client_ean"),
        ("ALTER TABLE public.users ADD client_id text", [], "RENAME COLUMN client_id TO former_client_id"),
        ("ALTER TABLE public.users ADD client_id uuid; UPDATE public.users SET client_id = id", [], "set the values"),
        ("SET ROLE app_owner; CREATE TABLE public.organizations (id int)", [], "RENAME TO former_organizations"),
        ("", ["--grant-execute-to", "nobody_here"], "correct --grant-execute-to"),
    ],
    ids=["table", "column", "type", "values", "organizations", "role"],
)
def test_refusal_is_plain_text_with_what_to_do(
    database: Database, change: str, arguments: list[str], words: str
) -> None:
    """What preflight refuses stands on standard error, with what to do, and ends with exit code 3.

    In a pipeline standard error is all that anybody gets to see.
    """
    if change:
        database.execute(change)
    with database.connect() as connection:
        before = fingerprint(connection)
        ended = run("--force", "--dsn", database.owner_dsn, *arguments)
        assert difference(before, fingerprint(connection)) == []
    assert ended.status == problems.REFUSED
    assert words in ended.err
    assert ended.err.rstrip().endswith("refused: the errors above come first. Nothing was touched.")
    assert _is_one_clear_message(ended)


@exit_codes
def test_server_that_does_not_answer_is_given_up_on() -> None:
    """A server that takes the connection and then says nothing is given up on, with exit code 2.

    A firewall that swallows packets would hold the terminal for minutes.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        ended = run("--force", "--dsn", f"postgresql://someone@127.0.0.1:{port}/app?connect_timeout=2")
    assert ended.status == problems.USAGE
    assert "check the host, the port and the firewall in between" in ended.err
    assert _is_one_clear_message(ended)


@exit_codes
@pytest.mark.parametrize(
    ("arguments", "status"), [(["--status"], problems.FAILED), (["--force"], problems.STOPPED)], ids=["look", "run"]
)
def test_what_nobody_has_foreseen_is_one_message(
    database: Database, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int
) -> None:
    """What the driver or the runner itself stumbles over is said in one line, and not as if nothing had been touched.

    A traceback says nothing to whoever is on call, and exit code 1 says that the database is as it was; but who is
    to mend it has to be told where.
    """
    monkeypatch.setattr("migrate._look", lambda *_: b"\xfc".decode("utf-8"))
    ended = run("--dsn", database.owner_dsn, *arguments)
    assert ended.status == status
    assert re.search(r"in <lambda> \(.*test_command_line\.py:\d+\): UnicodeDecodeError: ", ended.err)
    assert "--status" in ended.err
    assert _is_one_clear_message(ended)


@exit_codes
@pytest.mark.parametrize("what", ["database", "role"])
def test_database_or_role_that_is_not_there_is_named(database: Database, what: str) -> None:
    """A database or a role that the server does not have is named, with exit code 2.

    A typing error in either is the commonest of them all.
    """
    server = database.server
    dsn = server.dsn("no_such_one", OWNER) if what == "database" else server.dsn(database.name, "no_such_one")
    ended = run("--force", "--dsn", dsn)
    assert ended.status == problems.USAGE
    assert "no_such_one" in ended.err
    assert "check the" in ended.err
    assert _is_one_clear_message(ended)
