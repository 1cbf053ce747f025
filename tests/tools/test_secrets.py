"""The password is in nothing that the runner says, writes or leaves behind, wherever it came from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg.conninfo import make_conninfo

from phase_1.connection import redact, where
from phase_1.problems import DONE, FAILED, USAGE, ConnectionProblem
from tests.plugins.database import OWNER, Templates
from tests.support.cases import Workbench, workbench
from tests.support.runner import WHERE, Run, run

pytestmark = pytest.mark.claim("secrets-stay-secret")

PASSWORD = "s3cret%40@w:rd/'\\é \"?#&"  # noqa: S105 - it opens a role that lives for one test
#: In how many ways a program may write it out.
FORMS = (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), "s3cret", "w:rd")


@pytest.fixture
def bench(templates: Templates) -> Iterator[Workbench]:
    """A database with a member of the owner's role, whose password is the one above."""
    with workbench(templates, "founding") as made:
        made.do("GRANT app_owner TO {role}; ALTER ROLE {role} LOGIN")
        quoted = PASSWORD.replace("'", "''")
        made.database.execute(f"ALTER ROLE \"{made.role}\" PASSWORD '{quoted}'")
        yield made


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says of no database."""
    for name in os.environ:
        if name.startswith(WHERE):
            monkeypatch.delenv(name)
    return monkeypatch


def parts(bench: Workbench) -> dict[str, str]:
    """Where the database is, by libpq's keywords; the password is left out."""
    server = bench.database.server
    return {"host": server.host, "port": str(server.port), "dbname": bench.database.name, "user": bench.role}


def keeps_the_secret(bench: Workbench, *runs: Run) -> bool:
    """Whether neither the runs nor the log have said it."""
    log = "SELECT coalesce(string_agg(l::text, ''), '') FROM public.migration_log AS l"
    [(there,)] = bench.database.query("SELECT to_regclass('public.migration_log') IS NOT NULL")
    said = [each.out + each.err for each in runs] + [bench.database.query(log)[0][0] if there else ""]
    return not any(form in text for form in FORMS for text in said)


@pytest.mark.parametrize("source", ["url", "keywords", "DATABASE_URL", "SUPABASE", "PGPASSWORD", ".pgpass"])
def test_password_of_every_source_opens_the_database_and_is_never_said(
    source: str, bench: Workbench, nowhere: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A password with every special character is understood from each source, and shown by none of the runs.

    Terminals are recorded, logs are shipped, and JSON is archived: all of them outlive the password's owner.
    """
    where_it_is = parts(bench)
    url = (
        f"postgresql://{quote(bench.role)}:{quote(PASSWORD, safe='')}@{where_it_is['host']}:{where_it_is['port']}"
        f"/{where_it_is['dbname']}"
    )
    arguments: list[str] = []
    if source == "url":
        arguments = ["--dsn", url]
    elif source == "keywords":
        arguments = ["--dsn", make_conninfo("", **where_it_is, password=PASSWORD)]
    elif source == "DATABASE_URL":
        nowhere.setenv("DATABASE_URL", url.replace("postgresql://", "postgresql+psycopg2://"))
    elif source == "SUPABASE":
        names = {"host": "DB_HOST", "port": "DB_PORT", "dbname": "DB_NAME", "user": "SERVICE_ROLE_USER"}
        for key, name in names.items():
            nowhere.setenv(f"SUPABASE_{name}", where_it_is[key])
        nowhere.setenv("SUPABASE_SERVICE_ROLE_PASSWORD", PASSWORD)
    else:
        for key, value in where_it_is.items():
            nowhere.setenv(f"PG{'DATABASE' if key == 'dbname' else key.upper()}", value)
        if source == "PGPASSWORD":
            nowhere.setenv("PGPASSWORD", PASSWORD)
        else:
            file = tmp_path / "pgpass"
            escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
            file.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
            file.chmod(0o600)
            nowhere.setenv("PGPASSFILE", str(file))
    runs = [run(*arguments, *action) for action in (["--dry-run"], ["--force"], ["--verify", "--json"], ["--status"])]
    assert [each.status for each in runs] == [DONE] * 4, runs
    assert bench.role in runs[0].err  # names are said; so it was this role
    assert keeps_the_secret(bench, *runs)
    assert run(*arguments, "--rollback", "--force").status == DONE


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["plain", "json"])
def test_error_of_the_server_that_repeats_the_password_is_not_passed_on(as_json: list[str], bench: Workbench) -> None:
    """A message of the server with the password in it is shown, and logged, without it.

    The log of the migration stays in the database for good, and every back end may read it.
    """
    quoted = PASSWORD.replace("'", "''").replace("%", "%%")
    bench.do(
        f"""
        CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE 'not with {quoted}' USING DETAIL = 'nor with {quoted.replace("%%", "%")}'; END $$;
        CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE INDEX')
            EXECUTE FUNCTION public.refuse()
        """
    )
    ended = run("--dsn", make_conninfo("", **parts(bench), password=PASSWORD), "--force", *as_json)
    assert ended.status == FAILED
    assert "not with ********" in ended.err
    assert "nor with ********" in ended.err
    [(logged,)] = bench.database.query(
        "SELECT details ->> 'error' FROM public.migration_log WHERE status = 'failed' AND operation <> 'migrate'"
    )
    assert logged.startswith("not with ********"), f"in migration_log: {logged}"
    assert "nor with" not in logged
    assert keeps_the_secret(bench, ended)


def test_query_of_another_session_with_the_password_in_it_is_not_shown(bench: Workbench) -> None:
    """Who is in the way is named with the query, but not with the password that the query may hold.

    Somebody who changes the role's password in a transaction is the very one who is in the way.
    """
    blocker = bench.database.connect(OWNER, autocommit=False)
    blocker.execute("LOCK TABLE public.users IN ACCESS SHARE MODE")
    blocker.execute(f"SELECT $$ALTER ROLE x PASSWORD '{PASSWORD}'$$".encode())
    dsn = make_conninfo("", **parts(bench), password=PASSWORD)
    ended = run("--dsn", dsn, "--force", "--lock-timeout", "250ms", "--give-up-after", "1s", "--json")
    assert ended.status == FAILED
    assert f"process {blocker.info.backend_pid}" in ended.err
    assert "SELECT ..." in ended.err
    assert keeps_the_secret(bench, ended)


def test_password_that_another_session_sets_is_neither_shown_nor_stored(bench: Workbench) -> None:
    """Of the query of another session nothing from its first literal on is shown or stored, whosever password it is.

    The runner does not know that password, and the log would keep it for every back end to read.
    """
    blocker = bench.database.connect(OWNER, autocommit=False)
    blocker.execute("LOCK TABLE public.users IN ACCESS SHARE MODE")
    blocker.execute(f"ALTER ROLE {OWNER}\n PASSWORD 'an0ther'".encode())
    dsn = make_conninfo("", **parts(bench), password=PASSWORD)
    ended = run("--dsn", dsn, "--force", "--lock-timeout", "250ms", "--give-up-after", "1s", "--json")
    assert ended.status == FAILED
    assert f"ALTER ROLE {OWNER} PASSWORD ..." in ended.err
    [(logged,)] = bench.database.query(
        "SELECT details ->> 'error' FROM public.migration_log WHERE status = 'failed' AND operation = 'migrate'"
    )
    assert f"ALTER ROLE {OWNER} PASSWORD ..." in logged
    assert "an0ther" not in f"{ended.out}{ended.err}{logged}", f"the query of another session: {ended.err}"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://someone:s3cret@w:rd@127.0.0.1:1/app",
        "postgresql://someone:s3cret/w:rd@127.0.0.1:1/app",
        "postgresql://someone:s3cret?w:rd@127.0.0.1:1/app",
        "postgresql://someone:s3cret%w:rd@127.0.0.1:1/app",
        "postgresql://someone:s3cret@[127.0.0.1:1/app",
        "host=127.0.0.1 user=someone password='s3cret",
        "host=127.0.0.1 user=someone password=s3cret w:rd",
        "postgresql://someone@127.0.0.1:1/app?password=s3cret&w:rd=1",
    ],
)
def test_connection_string_that_cannot_be_read_is_not_repeated(dsn: str) -> None:
    """A connection string that libpq reads in another way, or not at all, is refused without a piece of it.

    libpq would take half of the password for the name of the host, and print it.
    """
    ended = run("--dsn", dsn, "--json", "--force")
    assert ended.status == USAGE
    assert "--dsn is not a connection string" in ended.err
    assert ended.json["exit_code"] == USAGE
    assert not any(part in ended.out + ended.err for part in ("s3cret", "w:rd"))


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://127.0.0.1:5432/app?application_name=me@home",
        "postgresql://[::1]:5432,example.com/app?application_name=me@home",
        "postgresql:///app?host=/tmp&user=me@home",
        "postgresql://me%40home:p%40ss@127.0.0.1/app?sslmode=prefer",
        "host=127.0.0.1 user=me@home password='a b@c/d'",
        "",
    ],
)
def test_connection_string_with_an_at_sign_elsewhere_is_taken(dsn: str) -> None:
    """What only looks like a password that is not encoded is passed on as it is.

    Nobody could connect who has an @ in the name of the role or the application.
    """
    assert where(dsn, {}) == dsn


def test_unreadable_database_url_is_named_by_its_variable() -> None:
    """The message says which of the sources cannot be read.

    Whoever gave no --dsn would look for it in vain.
    """
    with pytest.raises(ConnectionProblem, match=r"^DATABASE_URL is not"):
        where(None, {"DATABASE_URL": "postgresql://u:p@w@h/d"})


def test_password_that_is_the_name_of_the_role_is_not_taken_out_of_names() -> None:
    """Where the password is the role's name, the name is still said.

    "connect as ********" helps nobody, and hides nothing that one would not try first.
    """
    dsn = "postgresql://app_owner:app_owner@127.0.0.1/app"
    assert redact("belongs to app_owner", dsn) == "belongs to app_owner"
    assert redact("belongs to app_owner", dsn.replace(":app_owner", ":owner")) == "belongs to app_********"


def test_password_that_is_a_word_of_the_script_leaves_the_script_as_it_runs(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that stands in the script by chance is hidden everywhere but there, also in its JSON.

    The script would be one that does not run, or does something else.
    """
    database = templates.clone("founding-tiny")
    plain = run("--dsn", database.owner_dsn, "--dry-run").out
    monkeypatch.setenv("PGPASSWORD", "organizations")
    assert run("--dsn", database.owner_dsn, "--dry-run").out == plain
    result = run("--dsn", database.owner_dsn, "--dry-run", "--json").json
    assert result["script"] == plain
    assert "create_********" in result["plan"]["to_do"]
    database.drop()


def test_password_with_a_control_character_is_hidden_as_it_is_and_as_it_would_be_shown() -> None:
    """A password with a character that is not printable is hidden in what was made printable before, too.

    A finding is made printable when it is made, and hidden when it is shown.
    """
    dsn = make_conninfo("", user="u", password="tab\tbed")  # noqa: S106 - of nobody
    assert redact("tab\tbed and tab\\tbed", dsn) == "******** and ********"


def test_password_that_begins_like_another_one_is_hidden_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two passwords the longer one is looked for first, so that nothing of it stays behind the shorter one.

    The rest of a password is soon guessed.
    """
    monkeypatch.setenv("PGPASSWORD", "abc")
    assert redact("abcdef and abc", "postgresql://u:abcdef@127.0.0.1/d") == "******** and ********"
