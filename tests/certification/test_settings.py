"""Whatever a role, a database or a schema has set: a run does what it does anywhere else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from phase_1.fingerprint import difference
from phase_1.problems import DONE
from tests.application import load as application
from tests.plugins.database import OWNER, Database, Templates
from tests.support.looking import catalog, wait_for_who_waits
from tests.support.runner import by_psql, run

pytestmark = pytest.mark.claim("settings-do-not-leak")

#: What a role may have set, as far as the server knows it, and a statement or the driver may stumble over.
_SETTINGS = {
    "client_encoding": "'LATIN1'",
    "search_path": "public, pg_catalog",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "datestyle": "'German'",
    "intervalstyle": "'iso_8601'",
    "bytea_output": "'escape'",
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "statement_timeout": "'300ms'",
    "idle_session_timeout": "'300ms'",
    "transaction_timeout": "'300ms'",
}

#: Operators that everybody may have made, and that would come before PostgreSQL's own.
_OPERATORS = """
    CREATE TABLE public.taken_in (name text);
    GRANT INSERT ON public.taken_in TO PUBLIC;
    CREATE FUNCTION public.divide(float8, bigint) RETURNS float8 LANGUAGE sql
        AS 'INSERT INTO public.taken_in VALUES (current_user); SELECT 0::float8';
    CREATE FUNCTION public.equal(text, text) RETURNS boolean LANGUAGE sql
        AS 'INSERT INTO public.taken_in VALUES (current_user); SELECT TRUE';
    CREATE OPERATOR public./ (LEFTARG = float8, RIGHTARG = bigint, FUNCTION = public.divide);
    CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.equal);
"""


#: At the end of a script: nothing that it has set is set any more. Here, too, an = may be anybody's.
_NOTHING_IS_LEFT = """
    DO $$ BEGIN
        ASSERT NOT EXISTS (SELECT FROM pg_settings WHERE source LIKE 'session'),
            (SELECT string_agg(name, ', ') FROM pg_settings WHERE source LIKE 'session');
    END $$;
"""


@contextmanager
def _in_the_way(database: Database, online: bool) -> Iterator[None]:
    """What the run waits for, longer than any limit of the role: with its snapshot for a build, with a table else."""
    report = database.connect(autocommit=False)
    report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    report.execute("SELECT 1" if online else "SELECT FROM public.users")

    def end() -> None:
        wait_for_who_waits(database, pid)
        report.execute("SELECT pg_sleep(0.5)")
        report.rollback()

    pid = report.info.backend_pid
    ending = threading.Thread(target=end)
    ending.start()
    yield
    ending.join()


@pytest.mark.parametrize(
    ("mode", "psql"),
    [([], False), (["--online", "--jobs", "2"], False), ([], True), (["--online"], True)],
    ids=["transactional", "online", "transactional, by psql", "online, by psql"],
)
def test_run_ends_alike_whatever_the_role_has_set(templates: Templates, mode: list[str], *, psql: bool) -> None:
    """With every setting of the role against it, a run and what follows it end as they do without, and in no other way.

    Otherwise a timeout cuts the third hour of a build, the checks find what is not there, and an operator that
    anybody made is run with the rights of who migrates.
    """
    database, other = templates.clone("founding-tiny"), templates.clone("founding-tiny-migrated")
    for each in (database, other):
        each.execute(_OPERATORS)
    known = {name for (name,) in database.query("SELECT lower(name) FROM pg_settings")}
    for name in _SETTINGS.keys() & known:
        database.execute(f"ALTER ROLE {OWNER} IN DATABASE {database.name} SET {name} TO {_SETTINGS[name]}")
    before = catalog(database)
    limit = ("--lock-timeout", "1min")
    with _in_the_way(database, online=bool(mode)):
        if psql:
            by_psql(database, run("--dsn", database.owner_dsn, "--dry-run", *mode, *limit).out + _NOTHING_IS_LEFT)
        else:
            _done(database, *mode, *limit)
    assert difference(catalog(other), catalog(database)) == []
    for arguments in (["--verify"], ["--status"], mode, ["--rollback", *mode[:1]]):
        _done(database, *arguments)
    assert difference(before, catalog(database)) == []
    assert database.query("SELECT name FROM public.taken_in") == []
    database.drop()
    other.drop()


def _done(database: Database, *arguments: str) -> None:
    done = run("--dsn", database.owner_dsn, "--force", *arguments)
    assert done.status == DONE, (arguments, done.out + done.err)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_run_ends_alike_in_any_encoding(templates: Templates, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a database and for a client of another encoding than UTF-8 everything can be said that there is to say.

    Otherwise the runner breaks off at a letter, in the middle of the window.
    """
    server = templates.server
    database = Database(server, f"{encoding.lower()}_of_settings", "founding")
    with closing(server.connect()) as connection:
        connection.execute(
            f"CREATE DATABASE {database.name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    with closing(database.connect(client_encoding="UTF8")) as connection:
        application.create(connection, "founding")
        # What a warning is about.
        connection.execute('CREATE PUBLICATION "für alle" FOR ALL TABLES')
        # Keys that end the batches of the fill, with characters that only UTF8 has an escape for on every version.
        connection.execute(
            "ALTER TABLE public.email_logs ADD COLUMN client_id uuid, DROP COLUMN id, ADD COLUMN id text PRIMARY KEY;"
            "INSERT INTO public.email_logs (id, recipient)"
            " SELECT n || CASE WHEN n < 5 THEN 'a\x85\xa0' ELSE 'é' END, 'somebody' FROM generate_series(1, 9) AS n"
        )
    monkeypatch.setattr("phase_1.found.BATCH", 2)
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    for arguments in (["--dry-run"], [], ["--verify"], ["--status"], ["--rollback"]):
        _done(database, *arguments)
    database.drop()
