"""Nothing of staging runs with the rights of whoever looks at it: not there, and not in the throwaway server.

What is planted says in the log of the throwaway server as whom it runs, and tries to get out of the database:
``COPY … TO PROGRAM``, which a superuser may, runs any command on the machine of whoever rehearses.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.database import OWNER, Templates
from tests.plugins.server import Choice, Server
from tests.staging import test_migrated, test_not_migrated
from tests.support.rehearsal import DATABASE, Rehearsal, rehearse
from tests.tools.test_staging import Site, staged

pytestmark = pytest.mark.claim("nothing-foreign-runs")

#: What planted code tries, one by one, so as to run a command: the ways of a superuser, and back to one.
_WAYS_OUT = (
    "RESET SESSION AUTHORIZATION",
    "RESET ROLE",
    "SET ROLE phase_1_rehearsal",
    "SET ROLE {dba}",
    "SET ROLE {stranger}",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "GRANT pg_execute_server_program TO CURRENT_USER",
    "SET ROLE {stranger}; GRANT pg_execute_server_program TO {stranger}",
)

_CODE = """
CREATE FUNCTION public.{prefix}_attempts(what text) RETURNS boolean LANGUAGE plpgsql AS $body$
DECLARE
    way text;
    super boolean := (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user);
    getting_out text := format('COPY (SELECT 1) TO PROGRAM %L', 'touch {directory}/got_out');
BEGIN
    IF current_database() <> '{database}' THEN
        RETURN TRUE;
    END IF;
    RAISE WARNING 'ran [%] as [%] which is [%]', what, current_user,
        CASE WHEN super THEN 'a superuser' ELSE 'none' END;
    FOREACH way IN ARRAY ARRAY[{ways}] LOOP
        BEGIN
            EXECUTE way;
            EXECUTE getting_out;
            RAISE WARNING 'got out [%] by [%]', what, way;
            RETURN TRUE;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    BEGIN
        PERFORM pg_catalog.pg_read_file('PG_VERSION');
        RAISE WARNING 'got out [%] by [%]', what, 'a function for superusers that was granted';
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    BEGIN
        PERFORM public.run_as_the_dba(getting_out);
        RAISE WARNING 'got out [%] by [%]', what, 'a function of the dba';
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    RETURN TRUE;
END
$body$;
CREATE FUNCTION public.{prefix}_is(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
AS $body$BEGIN PERFORM public.{prefix}_attempts(what); RETURN TRUE; END$body$;
CREATE FUNCTION public.{prefix}_of(what text, given text) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS $body$BEGIN PERFORM public.{prefix}_attempts(what); RETURN given; END$body$;
CREATE FUNCTION public.{prefix}_circle(what text) RETURNS circle LANGUAGE plpgsql
AS $body$BEGIN PERFORM public.{prefix}_attempts(what); RETURN '<(0,0),1>'; END$body$;
CREATE FUNCTION public.{prefix}_trigger() RETURNS trigger LANGUAGE plpgsql
AS $body$BEGIN PERFORM public.{prefix}_attempts('a trigger ' || TG_NAME); RETURN NEW; END$body$;
CREATE FUNCTION public.{prefix}_event() RETURNS event_trigger LANGUAGE plpgsql
AS $body$BEGIN PERFORM public.{prefix}_attempts('an event trigger ' || TG_EVENT); END$body$;
"""

#: What hangs on a table that is filled: a tenant table, or one that a tenant table refers to.
_HUNG = """
CREATE INDEX ON {table} ({prefix}_of('an index expression of {table}', name));
CREATE INDEX ON {table} (id, {prefix}_of('an index expression of {table} without a column', 'x'));
CREATE INDEX ON {table} (id) WHERE {prefix}_is('an index predicate of {table} without a column');
CREATE INDEX ON {table} (id) WHERE {prefix}_of('an index predicate of {table}', name) <> '';
ALTER TABLE {table}
    ADD made text GENERATED ALWAYS AS ({prefix}_of('a generated column of {table}', name)) STORED,
    ADD made_of_nothing boolean
        GENERATED ALWAYS AS ({prefix}_is('a generated column of {table} without a column')) STORED,
    ADD round circle NOT NULL DEFAULT {prefix}_circle('a default of {table}'),
    ADD word public.{prefix}_word,
    ADD CHECK ({prefix}_of('a check of {table}', name) <> '');
CREATE FUNCTION public.{prefix}_row({table}) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
AS $body$BEGIN PERFORM public.{prefix}_attempts('a check of {table} restored by itself'); RETURN TRUE; END$body$;
ALTER TABLE {table} ADD CHECK (public.{prefix}_row({name}) AND {prefix}_is('a check of {table} beside that'));
CREATE TRIGGER planted BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION public.{prefix}_trigger();
CREATE TRIGGER always BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION public.{prefix}_trigger();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER always;
CREATE POLICY planted ON {table} USING ({prefix}_is('a policy of {table}'));
CREATE RULE planted AS ON DELETE TO {table} DO ALSO SELECT public.{prefix}_is('a rule of {table}');
CREATE VIEW public.{prefix}_view AS SELECT id, {prefix}_of('a view', name) AS name FROM {table};
CREATE MATERIALIZED VIEW public.{prefix}_kept AS SELECT id, {prefix}_of('a materialized view', name) AS name
    FROM {table};
CREATE INDEX ON public.{prefix}_kept (id) WHERE {prefix}_is('an index of a materialized view');
"""

#: What stands by itself in a schema.
_BESIDE = """
CREATE DOMAIN public.{prefix}_word AS text CHECK ({prefix}_of('a domain', VALUE) <> '');
CREATE TABLE public.{prefix}_first (id integer PRIMARY KEY);
CREATE INDEX ON public.{prefix}_first (id) WHERE {prefix}_is('an index predicate of a table that is referred to');
CREATE TABLE public.{prefix}_second (id integer REFERENCES public.{prefix}_first);
CREATE INDEX ON public.{prefix}_second (id) WHERE {prefix}_is('an index predicate of a table that refers');
CREATE TABLE public.{prefix}_parts (word public.{prefix}_word) PARTITION BY LIST (word);
CREATE TABLE public.{prefix}_part PARTITION OF public.{prefix}_parts FOR VALUES IN ('the bound of a partition');
CREATE FUNCTION public.{prefix}_next(public.{prefix}_word, text) RETURNS public.{prefix}_word LANGUAGE sql
AS 'SELECT $1';
CREATE AGGREGATE public.{prefix}_all (text) (
    SFUNC = public.{prefix}_next, STYPE = public.{prefix}_word, INITCOND = 'the start of an aggregate');
CREATE FUNCTION public.hashint8extended(integer, integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE
AS $body$BEGIN
    PERFORM public.{prefix}_attempts('a function with the name of one of PostgreSQL''s');
    RETURN hashint8extended($1::bigint, $2::bigint);
END$body$;
"""

#: Up to PostgreSQL 12 it runs when the table is opened, so that it is refused unless it is the owner's.
_KEYED = """
CREATE TABLE public.{prefix}_keyed (id text) PARTITION BY LIST ((id || {prefix}_of('the key of partitions', 'x')));
"""

_TABLE = """
CREATE TABLE public.{name} (id integer PRIMARY KEY, name text NOT NULL);
GRANT REFERENCES ON public.{name} TO {owner};
"""

#: Of so many plants some have to run with lesser rights: one that nothing touches proves nothing.
_MANY = 12


@dataclass
class Trap:
    """A staging database in which somebody has planted code, and what came of it."""

    site: Site
    directory: Path
    stranger: str
    dba: str
    log: str = ""

    def plant(self, who: str, prefix: str, statements: str, **names: str) -> None:
        """Runs statements as a role that is no superuser."""
        text = statements
        for name, value in {"prefix": prefix, **self._names, **names}.items():
            text = text.replace(f"{{{name}}}", value)
        with self.site.database.connect() as session:
            session.execute(f"SET SESSION AUTHORIZATION {who}; SET search_path = public".encode())
            [(superuser,)] = session.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            assert not superuser, "the attacker is nobody in particular"
            session.execute(text.encode())

    @property
    def _names(self) -> dict[str, str]:
        ways = ", ".join(f"'{way}'" for way in _WAYS_OUT)
        return {
            "ways": ways.replace("{dba}", self.dba).replace("{stranger}", self.stranger),
            "directory": str(self.directory),
            "database": DATABASE,
            "owner": OWNER,
        }

    @property
    def ran(self) -> dict[str, set[str]]:
        """As whom each of what was planted has run."""
        found: dict[str, set[str]] = {}
        for what, role in re.findall(r"ran \[(.*?)\] as \[(.*?)\] which is", self.log):
            found.setdefault(what, set()).add(role)
        return found

    @property
    def as_superuser(self) -> list[str]:
        """What has run as a superuser."""
        return sorted(set(re.findall(r"ran \[(.*?)\] as \[.*?\] which is \[a superuser\]", self.log)))

    @property
    def got_out(self) -> list[str]:
        """What has run a command on this machine, and by which way."""
        said = re.findall(r"got out \[(.*?)\] by \[(.*?)\]", self.log)
        return [*sorted({f"{what}, by {way}" for what, way in said}), *(each.name for each in self.directory.iterdir())]


@pytest.fixture
def trap(templates: Templates, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    """A staging database with a stranger, who may create in ``public``, and a superuser's careless function."""
    directory = Path(tempfile.mkdtemp(prefix="phase_1_planted_"))
    directory.chmod(0o777)  # the server may run as another user
    suffix = secrets.token_hex(3)
    stranger, dba = f"staging_stranger_{suffix}", f"staging_dba_{suffix}"
    try:
        with staged(templates, "deployed") as site:
            made = Trap(site, directory, stranger, dba)
            site.database.execute(
                f"CREATE ROLE {stranger} CREATEROLE; CREATE ROLE {dba} SUPERUSER;"
                f"GRANT USAGE, CREATE ON SCHEMA public TO {stranger};"
                f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {stranger}, {OWNER}; SET ROLE {dba};"
                "CREATE FUNCTION public.run_as_the_dba(what text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER"
                " AS 'BEGIN EXECUTE what; END'"
            )
            closing = Server.close

            def close(server: Server) -> None:
                made.log += server.log_text()
                closing(server)

            monkeypatch.setattr(Server, "close", close)
            yield made
            monkeypatch.setattr(Server, "close", closing)
    finally:
        with server.connect(server.database) as superuser:
            superuser.execute(f"DROP ROLE IF EXISTS {stranger}, {dba}".encode())
        shutil.rmtree(directory)


def _throwaway(server: Server) -> Choice:
    """A server like the suite's."""
    return Choice("docker" if server.image else "embedded", "of the test's own", server.image)


def _nothing(title: str, value: Any) -> None:
    pass


def _rehearse(trap: Trap, server: Server) -> Rehearsal:
    trap.site.database.execute(
        f"GRANT USAGE ON SCHEMA auth TO {trap.site.reader};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public, auth TO {trap.site.reader}"
    )
    return rehearse(trap.site.look(), _throwaway(server), "", None)


def _harmless(trap: Trap, rehearsed: Rehearsal) -> None:
    """Nothing of it ran as a superuser or got out, a good part of it ran otherwise, and the rehearsal went well."""
    assert trap.as_superuser == []
    assert trap.got_out == []
    assert len(trap.ran) >= _MANY, trap.ran
    test_not_migrated.test_rehearsal_migrates_verifies_and_goes_back(rehearsed, _nothing)


def test_code_of_the_owner_of_the_tables_does_not_run_as_a_superuser(trap: Trap, server: Server) -> None:
    """Whatever the owner of staging's tables has hung on them, it has no superuser's rights in the throwaway server.

    Else looking at staging would mean to let whoever owns its tables run commands on one's own machine.
    """
    trap.plant(OWNER, "owners", _CODE + _BESIDE + _KEYED)
    trap.plant(OWNER, "owners", _HUNG, table="public.products", name="products")
    for event in ("ddl_command_start", "ddl_command_end", "sql_drop", *(["login"] if server.major >= 17 else [])):
        trap.site.database.execute(f"CREATE EVENT TRIGGER on_{event} ON {event} EXECUTE FUNCTION public.owners_event()")
    rehearsed = _rehearse(trap, server)
    _harmless(trap, rehearsed)
    # As the migration meets them on staging, so does it here.
    assert trap.ran["an event trigger ddl_command_end"] == {OWNER}


def test_code_of_a_stranger_does_not_run_as_a_superuser(trap: Trap, server: Server) -> None:
    """What a role that may create in ``public`` has made, and a tenant table refers to, has no superuser's rights.

    Preflight looks at the tenant tables; the dump takes everything along.
    """
    trap.plant(trap.stranger, "strangers", _CODE + _BESIDE + (_KEYED if server.major >= 13 else ""))
    trap.plant(trap.stranger, "strangers", _TABLE, name="regions")
    trap.plant(trap.stranger, "strangers", _HUNG, table="public.regions", name="regions")
    trap.plant(OWNER, "", "ALTER TABLE public.products ADD region_id integer REFERENCES public.regions")
    if server.major >= 17:
        trap.site.database.execute("CREATE EVENT TRIGGER on_login ON login EXECUTE FUNCTION public.strangers_event()")
    _harmless(trap, _rehearse(trap, server))


def test_staging_of_superusers_is_rehearsed_without_their_rights(trap: Trap, server: Server) -> None:
    """Where a superuser owns the tables, and another one what hangs on them, the rehearsal goes well with neither.

    On many servers nobody has ever made a role for the application.
    """
    database, owner = trap.site.database, f"{trap.dba}_s"
    database.execute(
        f"SET ROLE {trap.dba}; CREATE FUNCTION public.guard() RETURNS event_trigger LANGUAGE plpgsql"
        " AS 'BEGIN NULL; END'; CREATE EVENT TRIGGER guard ON ddl_command_end EXECUTE FUNCTION public.guard();"
        f" RESET ROLE; CREATE ROLE {owner} SUPERUSER"
    )
    try:
        database.execute(
            f"DO $$BEGIN EXECUTE (SELECT string_agg(format('ALTER TABLE %s OWNER TO {owner}', oid::regclass),"
            " '; ') FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace); END$$"
        )
        rehearsed = _rehearse(trap, server)
        test_not_migrated.test_rehearsal_migrates_verifies_and_goes_back(rehearsed, _nothing)
        assert rehearsed.user == owner
        assert [line for line in rehearsed.told if line.startswith("not restored")] == []
    finally:
        database.execute(f"REASSIGN OWNED BY {owner} TO {OWNER}; DROP ROLE {owner}")


def test_name_of_staging_is_no_command_of_the_restore(trap: Trap, server: Server) -> None:
    """Names, texts and comments with line breaks and backslashes come over as they are, and nothing of them is run.

    A restore by psql may take a line that begins with a backslash for a command of whoever runs it.
    """
    command = f"\n\\! touch {trap.directory}/got_out\n"
    name = _quoted(f'a"b{{0}}%s{command}'[:63], '"')
    text = _quoted(f"it's{command}12; 0 0 EXTENSION - x", "'")
    trap.plant(
        OWNER,
        "",
        f"CREATE TABLE public.{name} ({name} text DEFAULT {text}, CONSTRAINT {name} CHECK ({name} <> {text}));"
        f"COMMENT ON TABLE public.{name} IS {text}; COMMENT ON COLUMN public.{name}.{name} IS {text};"
        f"CREATE FUNCTION public.{name}() RETURNS text LANGUAGE sql AS $x$SELECT {text} /* {command} */$x$;"
        f"ALTER TABLE public.products ADD {name} text, ADD CONSTRAINT {name} CHECK ({name} <> {text})",
    )
    rehearsed = _rehearse(trap, server)
    assert trap.got_out == []
    assert [line for line in rehearsed.told if line.startswith("not restored")] == []
    test_not_migrated.test_rehearsal_migrates_verifies_and_goes_back(rehearsed, _nothing)


def _quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


_RUN = (
    "CREATE FUNCTION public.planted() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'ran as %', current_user; END$$"
)


@pytest.mark.parametrize("executable", [True, False], ids=["called", "by-its-text"])
def test_function_that_was_replaced_is_not_run_on_staging(templates: Templates, executable: bool) -> None:
    """A function that is not the migration's is named, and neither it nor its text is run by whoever looks.

    What takes its place need not be SECURITY DEFINER: it would have the rights of the role that looks at staging.
    """
    with staged(templates, "founding-migrated") as site:
        site.database.execute(
            f"SET ROLE {OWNER}; {_RUN};"
            "CREATE OR REPLACE FUNCTION public.validate_client_access(user_id uuid, client_id uuid) RETURNS boolean"
            " LANGUAGE plpgsql STABLE SET search_path = ''"
            " AS '#variable_conflict use_column\nBEGIN RETURN public.planted(); END;'"
        )
        if executable:
            site.database.execute(f"GRANT EXECUTE ON FUNCTION public.validate_client_access TO {site.reader}")
        [asked] = [each for each in test_migrated.COMPARED if each[0] == "validate_client_access"]
        with pytest.raises(pytest.fail.Exception, match="validate_client_access was not called"):
            test_migrated.test_function_agrees_with_a_straightforward_query(site.look(), _nothing, *asked)


def test_what_is_planted_between_two_looks_is_not_read(templates: Templates) -> None:
    """Whose objects they are is asked in every transaction: what has come since the first look fails the next one.

    A rehearsal takes minutes, and who may create in ``public`` sees in ``pg_stat_activity`` that one has begun.
    """
    with staged(templates, "founding") as site:
        staging = site.look()
        site.database.execute(
            f"{_RUN}; CREATE VIEW public.organizations AS SELECT public.planted() AS is_active;"
            f" GRANT SELECT ON public.organizations TO PUBLIC; ALTER VIEW public.organizations OWNER TO anon"
        )
        with pytest.raises(pytest.fail.Exception, match=r"could not be checked: refused: .*public\.organizations"):
            staging.snapshot()
