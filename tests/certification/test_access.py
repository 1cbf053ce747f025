"""Who may do what: a matrix of roles, objects and privileges, and the attacks themselves, tried.

Every statement runs in a session of the role that it is about, which comes in as it does in production: the
web API logs in as ``authenticator`` and says ``SET ROLE``. What fails is tried again with the protection taken
away, in a transaction that is rolled back: there it has to succeed, or the failure would show nothing.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import errors, sql

from phase_1.inventory import DEFAULT_ORGANIZATION, FUNCTIONS, NEW_TABLES, TABLES
from phase_1.problems import DONE, REFUSED, VIOLATIONS
from tests.plugins.database import OWNER, Database, Templates
from tests.plugins.server import Server
from tests.support.proxy import Proxy, Statement
from tests.support.runner import run

Connection = psycopg.Connection[tuple[Any, ...]]
Evidence = Callable[[str, Any], None]

ACME = "20000000-0000-4000-8000-000000000002"
ACME_USER = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
NEWCOMER = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"  # has signed up and has no profile yet
UNKNOWN = "ffffffff-ffff-4fff-8fff-ffffffffffff"  # an id that nobody has
TENANT_TABLES = tuple(table.name for table in TABLES)
SEQUENCE = "migration_log_id_seq"
SIGNATURES = tuple(f"{name}({arguments})" for name, arguments in FUNCTIONS)

#: What each role is, before anything is concluded from what it may do: superuser, BYPASSRLS.
IDENTITIES = {"anon": (False, False), "authenticated": (False, False), "service_role": (False, True)}

#: The databases whose default privileges give a new table to the web API: all of it, or TRUNCATE only.
HOSTILE = ("deployed", "deployed-newer")


@pytest.fixture
def make_role(server: Server) -> Iterator[Callable[[str], str]]:
    """Creates roles with a password, dropped after the databases in which they were granted something."""
    made: list[str] = []
    with server.connect(server.database) as connection:

        def make(more: str = "") -> str:
            name = f"phase1 {os.getpid():x} {secrets.token_hex(3)}"  # the blanks are there to be quoted
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} {}")
            connection.execute(create.format(sql.Identifier(name), sql.Literal(name), sql.SQL(more)))
            made.append(name)
            return name

        yield make
        for name in made:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def stranger(make_role: Callable[[str], str]) -> str:
    """A role that was granted nothing: what it may do, PUBLIC may."""
    return make_role("")


@pytest.fixture(params=["founding", *HOSTILE])
def guarded(request: pytest.FixtureRequest, templates: Templates, stranger: str) -> Iterator[Database]:
    """The migrated application under each of the default privileges."""
    database = templates.clone(f"{request.param}-migrated")
    yield database
    database.drop()


@pytest.fixture(params=HOSTILE)
def exposed(request: pytest.FixtureRequest, templates: Templates) -> Iterator[Database]:
    """The migrated application behind a web API, with a row of a second client in every table."""
    database = templates.clone(f"{request.param}-migrated")
    with database.connect() as superuser:
        assert _default_privileges_open(superuser, "TRUNCATE"), "nothing is hostile about this database"
        assert _default_privileges_open(superuser, "SELECT") is (request.param == "deployed")
        _add_second_client(superuser)
    yield database
    database.drop()


def _default_privileges_open(superuser: Connection, privilege: str) -> bool:
    with superuser.transaction(force_rollback=True):
        superuser.execute(f"SET LOCAL ROLE {OWNER}")
        superuser.execute("CREATE TABLE public.new_table (id uuid)")
        [(answer,)] = superuser.execute("SELECT has_table_privilege('anon', 'public.new_table', %s)", [privilege])
    return bool(answer)


def _add_second_client(superuser: Connection) -> None:
    superuser.execute("INSERT INTO public.organizations (id, name, slug) VALUES (%s, 'Acme', 'acme')", [ACME])
    superuser.execute("INSERT INTO auth.users (id, email) VALUES (%s, 'acme'), (%s, 'new')", [ACME_USER, NEWCOMER])
    superuser.execute("DELETE FROM public.users WHERE id = %s", [NEWCOMER])
    superuser.execute("UPDATE public.users SET client_id = %s WHERE id = %s", [ACME, ACME_USER])
    superuser.execute(
        "INSERT INTO public.user_organizations (user_id, organization_id) VALUES (%s, %s)", [ACME_USER, ACME]
    )
    for table in TENANT_TABLES:
        if table != "users":
            superuser.execute(_insert(table, "acme", client_id=ACME).encode())
    superuser.execute("ANALYZE public.organizations")


#: A row of each table, with a name that no other row has.
_NEW_ROWS: dict[str, dict[str, str]] = {
    "users": {"id": NEWCOMER, "email": "{name}"},
    "uploads": {"filename": "{name}"},
    "products": {"ean": "{name}", "name": "Lamp"},
    "sellout_entries2": {"year": "2026", "month": "3", "quantity": "1", "is_return": "true"},
    "processing_logs": {"stage": "parsed", "status": "ok"},
    "transform_logs": {"transformation": "ean"},
    "email_logs": {"recipient": "{name}"},
}


def _insert(table: str, name: str, **more: str) -> str:
    row = {**_NEW_ROWS[table], **more}
    values = ", ".join(f"'{value.format(name=name)}'" for value in row.values())
    return f"INSERT INTO public.{table} ({', '.join(row)}) VALUES ({values})"


#: What is changed in a row of it.
_EDITS = {
    "users": "full_name = 'edited'",
    "uploads": "filename = 'edited'",
    "products": "name = 'edited'",
    "sellout_entries2": "quantity = 7",
    "processing_logs": "message = 'edited'",
    "transform_logs": "rows_in = 7",
    "email_logs": "subject = 'edited'",
}


# Coming in ---------------------------------------------------------------------------------------------


def log_in(database: Database, role: str, user: str | None = None) -> Connection:
    """A session of a role of the web API, for a signed-in user or for a visitor."""
    connection = database.connect("authenticator")
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    if user is not None:
        connection.execute("SELECT set_config('request.jwt.claim.sub', %s, false)", [user])
    assert _identity(connection) == ("authenticator", role, *IDENTITIES[role]), (
        "a session of another kind shows nothing"
    )
    return connection


def _identity(connection: Connection) -> tuple[Any, ...]:
    [row] = connection.execute(
        "SELECT session_user::text, current_user::text, rolsuper, rolbypassrls FROM pg_roles"
        " WHERE rolname = current_user"
    )
    return row


@contextmanager
def opened(database: Database, role: str, *openings: str, user: str | None = None) -> Iterator[Connection]:
    """A session of the same role in a database whose protection was taken away, until the block ends."""
    connection = database.connect()
    with connection.transaction(force_rollback=True):
        for opening in openings:
            connection.execute(opening.encode())
        if user is not None:
            connection.execute("SELECT set_config('request.jwt.claim.sub', %s, true)", [user])
        connection.execute("SET LOCAL SESSION AUTHORIZATION authenticator")
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        assert _identity(connection) == ("authenticator", role, *IDENTITIES[role])
        yield connection


@dataclass(frozen=True)
class Copy:
    """A COPY, with the rows of one FROM STDIN."""

    statement: str
    rows: tuple[tuple[object, ...], ...] | None = None


Attempt = str | Copy
Name = TypeVar("Name", str, tuple[str, str])


def outcome(connection: Connection, attempt: Attempt) -> str | int:
    """What comes of it: an SQLSTATE, or the number of rows that it touched (-1: it touches no rows).

    Nothing of it stays.
    """
    try:
        with connection.transaction(force_rollback=True), connection.cursor() as cursor:
            if isinstance(attempt, str):
                cursor.execute(attempt.encode())
            else:
                with cursor.copy(attempt.statement.encode()) as copy:
                    if attempt.rows is None:
                        list(copy)
                    else:
                        for row in attempt.rows:
                            copy.write_row(row)
            return cursor.rowcount
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise
        return error.sqlstate


def outcomes(connection: Connection, attempts: Mapping[Name, Attempt]) -> dict[Name, str | int]:
    """What comes of each of them."""
    return {name: outcome(connection, attempt) for name, attempt in attempts.items()}


def _one(connection: Connection, query: str) -> Any:
    [(value,)] = connection.execute(query.encode()).fetchall()
    return value


def _state(error: type[psycopg.Error]) -> str:
    assert error.sqlstate is not None
    return error.sqlstate


DENIED = _state(errors.InsufficientPrivilege)
_NOT_THERE = (_state(errors.UndefinedTable), _state(errors.UndefinedFunction))


def succeeded(result: str | int) -> bool:
    """Whether an attempt had an effect; -1 is a statement that touches no rows, such as TRUNCATE."""
    return isinstance(result, int) and result != 0


# The matrix --------------------------------------------------------------------------------------------

_READS_AND_WRITES = {"SELECT", "INSERT", "UPDATE", "DELETE"}

#: What is promised; the owner may do everything, and who is not named nothing.
PROMISED: dict[str, dict[str, set[str]]] = {
    "organizations": {"service_role": _READS_AND_WRITES},
    "user_organizations": {"service_role": _READS_AND_WRITES},
    "migration_log": {"service_role": {"SELECT"}},
    "migration_log_id_seq": {},
    "get_user_organization_id(uuid)": {"service_role": {"EXECUTE"}},
    "validate_client_access(uuid, uuid)": {"service_role": {"EXECUTE"}},
    "validate_client_data_integrity()": {"service_role": {"EXECUTE"}},
}

_TABLE_PRIVILEGES = {*_READS_AND_WRITES, "TRUNCATE", "REFERENCES", "TRIGGER"}
_INSERTS = {
    "organizations": "INSERT INTO public.organizations (name, slug) VALUES ('Berg', 'berg')",
    # The pair is there already; who may not insert learns nothing of that.
    "user_organizations": "INSERT INTO public.user_organizations (user_id, organization_id) VALUES ('{user}', "
    f"'{DEFAULT_ORGANIZATION}') ON CONFLICT DO NOTHING",
    "migration_log": "INSERT INTO public.migration_log (phase, operation, status) VALUES ('2', 'forged', 'failed')",
}

Matrix = dict[str, dict[str, set[str]]]


def _privileges(server: Server) -> dict[str, set[str]]:
    """For each object every privilege that this version knows for its kind."""
    tables = _TABLE_PRIVILEGES | ({"MAINTAIN"} if server.major >= 17 else set())
    return {
        **dict.fromkeys(NEW_TABLES, tables),
        SEQUENCE: {"SELECT", "UPDATE", "USAGE"},
        **{signature: {"EXECUTE"} for signature in SIGNATURES},
    }


def _kinds(server: Server) -> Iterator[tuple[str, str, str, set[str]]]:
    for name, privileges in _privileges(server).items():
        kind = "table" if name in NEW_TABLES else "sequence" if name == SEQUENCE else "function"
        for privilege in sorted(privileges):
            yield kind, name, privilege, privileges


def _tries(name: str, user: str) -> dict[str, str]:
    """For each privilege the statement that takes it, and no other."""
    if name in NEW_TABLES:
        key = "bigint" if name == "migration_log" else "uuid"
        return {
            "SELECT": f"SELECT FROM public.{name}",
            "INSERT": _INSERTS[name].format(user=user),
            "UPDATE": f"UPDATE public.{name} SET created_at = now()",
            "DELETE": f"DELETE FROM public.{name} WHERE FALSE",
            "TRUNCATE": f"TRUNCATE public.{name} CASCADE",
            "REFERENCES": f"CREATE TABLE workshop.made (id {key} REFERENCES public.{name} (id))",
            "TRIGGER": f"CREATE TRIGGER made BEFORE INSERT ON public.{name}"
            " FOR EACH ROW EXECUTE FUNCTION workshop.noop()",
            "MAINTAIN": f"REINDEX TABLE public.{name}",
        }
    if name == SEQUENCE:
        return {
            "SELECT": f"SELECT last_value FROM public.{name}",
            "UPDATE": f"SELECT setval('public.{name}', 1000)",
            # USAGE or UPDATE: nobody has one without the other
            "USAGE": f"SELECT nextval('public.{name}')",
        }
    arguments = ", ".join(["NULL"] * (name.count("uuid")))
    # A function is looked up, and its grants are, even where it is then called for no row.
    return {"EXECUTE": f"SELECT public.{name.partition('(')[0]}({arguments}) WHERE FALSE"}


def _expected(server: Server, roles: list[str]) -> Matrix:
    return {
        name: {role: privileges if role == OWNER else PROMISED[name].get(role, set()) for role in roles}
        for name, privileges in _privileges(server).items()
    }


def _as_the_catalog_says(superuser: Connection, server: Server, roles: list[str], option: str = "") -> Matrix:
    matrix: Matrix = {name: {role: set() for role in roles} for name in _privileges(server)}
    for kind, name, privilege, _ in _kinds(server):
        for role in roles:
            [(held,)] = superuser.execute(
                f"SELECT has_{kind}_privilege(%s, %s, %s)".encode(), [role, f"public.{name}", privilege + option]
            )
            if kind == "table" and privilege in ("SELECT", "INSERT", "UPDATE", "REFERENCES"):
                [(of_a_column,)] = superuser.execute(
                    "SELECT has_any_column_privilege(%s, %s, %s)", [role, f"public.{name}", privilege + option]
                )
                held = held or of_a_column
            if held:
                matrix[name][role].add(privilege)
    return matrix


def _as_tried(sessions: Mapping[str, Connection], server: Server, user: str) -> Matrix:
    matrix: Matrix = {name: {role: set() for role in sessions} for name in _privileges(server)}
    for _, name, privilege, _ in _kinds(server):
        for role, session in sessions.items():
            result = outcome(session, _tries(name, user)[privilege])
            assert result == DENIED or isinstance(result, int), (name, role, privilege, result)
            if result != DENIED:
                matrix[name][role].add(privilege)
    return matrix


@pytest.mark.claim("access-matrix")
def test_each_role_has_exactly_the_promised_privileges(
    guarded: Database, server: Server, stranger: str, evidence: Evidence
) -> None:
    """For every role, new object and privilege, the catalog and the attempt say what is written down here.

    One privilege too many is all that `TRUNCATE organizations CASCADE` takes to empty the database by the web API.
    """
    roles = ["anon", "authenticated", "service_role", "authenticator", OWNER, stranger]
    sessions = {role: log_in(guarded, role) for role in IDENTITIES}
    sessions |= {role: guarded.connect(role) for role in ("authenticator", OWNER, stranger)}
    for role in ("authenticator", OWNER, stranger):
        assert _identity(sessions[role]) == (role, role, False, False)
    with guarded.connect() as superuser:
        known = "SELECT array_agg(privilege_type::text) FROM aclexplode(acldefault(%s, 10::oid)) WHERE grantee = 10"
        for kind, name in (("r", "organizations"), ("s", SEQUENCE), ("f", SIGNATURES[0])):
            [(privileges,)] = superuser.execute(known, [kind])
            assert set(privileges) == _privileges(server)[name], "this version knows other privileges than the test"
        superuser.execute("CREATE SCHEMA workshop")
        superuser.execute("GRANT USAGE, CREATE ON SCHEMA workshop TO PUBLIC")
        superuser.execute("CREATE FUNCTION workshop.noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        [(user,)] = superuser.execute("SELECT user_id::text FROM public.user_organizations LIMIT 1")
        expected = _expected(server, roles)
        assert _as_the_catalog_says(superuser, server, roles) == expected
        assert _as_tried(sessions, server, user) == expected
        passed_on = _as_the_catalog_says(superuser, server, roles, " WITH GRANT OPTION")
        assert all(not held or role == OWNER for held_by in passed_on.values() for role, held in held_by.items())

        # With everything granted every attempt succeeds, so each of them can tell.
        everybody = sql.Identifier(stranger)
        for grant in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            superuser.execute(sql.SQL("GRANT ALL ON ALL {} IN SCHEMA public TO {}").format(sql.SQL(grant), everybody))
        for table in NEW_TABLES:
            superuser.execute(f"ALTER TABLE public.{table} DISABLE ROW LEVEL SECURITY".encode())
        everything = {name: {stranger: privileges} for name, privileges in _privileges(server).items()}
        assert _as_tried({stranger: sessions[stranger]}, server, user) == everything
    evidence(
        f"privileges of each role on the new objects, {guarded.variant}",
        {
            name: {
                ("PUBLIC" if role == stranger else role): ", ".join(sorted(held)) or "none" for role, held in by.items()
            }
            for name, by in expected.items()
        },
    )


# Attacks on what is new --------------------------------------------------------------------------------


def _attacks(user: str) -> dict[str, Attempt]:
    """What a visitor or a signed-in user would try on the new tables and functions."""
    return {
        "read the memberships": "SELECT * FROM public.user_organizations",
        "count the memberships": "SELECT count(*) FROM public.user_organizations",
        "read one column of the organizations": "SELECT slug FROM public.organizations",
        "read the log": "SELECT details FROM public.migration_log",
        "read in a subquery": f"SELECT EXISTS (SELECT FROM public.user_organizations WHERE user_id = '{user}')",
        "read through a view of one's own": "CREATE TEMP VIEW mine AS SELECT * FROM public.organizations;"
        " SELECT * FROM pg_temp.mine",
        "copy the memberships out": Copy("COPY public.user_organizations TO STDOUT"),
        "copy a query of the organizations out": Copy("COPY (SELECT * FROM public.organizations) TO STDOUT"),
        "copy a membership in": Copy(
            "COPY public.user_organizations (user_id, organization_id) FROM STDIN", ((user, ACME),)
        ),
        "learn the columns by LIKE": "CREATE TEMP TABLE mine (LIKE public.organizations)",
        "lock an organization": "SELECT id FROM public.organizations FOR UPDATE",
        "lock the table": "LOCK TABLE public.organizations IN ACCESS EXCLUSIVE MODE",
        "become a member": "INSERT INTO public.user_organizations (user_id, organization_id, role)"
        f" VALUES ('{user}', '{ACME}', 'admin')",
        "become a member by an upsert": "INSERT INTO public.user_organizations (user_id, organization_id)"
        f" VALUES ('{user}', '{DEFAULT_ORGANIZATION}')"
        f" ON CONFLICT (user_id, organization_id) DO UPDATE SET organization_id = '{ACME}'",
        "move a membership": "UPDATE public.user_organizations"
        f" SET organization_id = '{ACME}' WHERE user_id = '{user}'",
        "become an admin": "UPDATE public.user_organizations SET role = 'admin'",
        "delete the memberships": "DELETE FROM public.user_organizations",
        "found an organization": "INSERT INTO public.organizations (name, slug) VALUES ('Mine', 'mine')",
        "close an organization": "UPDATE public.organizations SET is_active = FALSE",
        "delete an organization": "DELETE FROM public.organizations WHERE slug = 'lone'",
        "forge the log": "INSERT INTO public.migration_log (phase, operation, status) VALUES ('1', 'x', 'failed')",
        "rewrite the log": "UPDATE public.migration_log SET status = 'failed'",
        "empty the log": "TRUNCATE public.migration_log",
        "empty the memberships": "TRUNCATE public.user_organizations",
        "empty everything": "TRUNCATE public.organizations CASCADE",
        "empty the users and with them the memberships": "TRUNCATE public.users CASCADE",
        "set the log's numbers": f"SELECT setval('public.{SEQUENCE}', 1000)",
        "take a number of the log": f"SELECT nextval('public.{SEQUENCE}')",
        "ask for another user's organization": f"SELECT public.get_user_organization_id('{ACME_USER}')",
        "ask for another user's access": f"SELECT public.validate_client_access('{ACME_USER}', '{ACME}')",
        "count everybody's rows": "SELECT public.validate_client_data_integrity()",
    }


#: What the migration would have left behind had it done nothing about the default privileges.
_UNPROTECTED = (
    "INSERT INTO public.organizations (name, slug) VALUES ('Lone', 'lone')",
    *(f"GRANT ALL ON public.{name} TO anon, authenticated" for name in (*NEW_TABLES, SEQUENCE)),
    *(f"ALTER TABLE public.{name} DISABLE ROW LEVEL SECURITY" for name in NEW_TABLES),
    *(f"GRANT EXECUTE ON FUNCTION public.{signature} TO anon, authenticated" for signature in SIGNATURES),
    # It sees every row, or says that it does not; here it is to be seen running.
    "ALTER FUNCTION public.validate_client_data_integrity() RESET row_security",
)


@pytest.mark.claim("attacks-fail")
@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_attacks_on_the_new_objects_fail(exposed: Database, role: str, evidence: Evidence) -> None:
    """Nothing that a visitor or a signed-in user tries on memberships, organizations, log and functions gets through.

    Every one of these has succeeded on a migration that left the default privileges alone.
    """
    user = _someone(exposed)
    attacks = _attacks(user)
    tried = outcomes(log_in(exposed, role, user), attacks)
    assert tried == dict.fromkeys(attacks, DENIED)
    with opened(exposed, role, *_UNPROTECTED, user=user) as unprotected:
        control = outcomes(unprotected, attacks)
        assert {name: result for name, result in control.items() if not succeeded(result)} == {}
        unprotected.execute("TRUNCATE public.organizations CASCADE")
        unprotected.execute("RESET ROLE; RESET SESSION AUTHORIZATION")
        emptied = [
            unprotected.execute(f"SELECT count(*) FROM public.{table}".encode()).fetchall() for table in TENANT_TABLES
        ]
        assert emptied == [[(0,)]] * len(TENANT_TABLES), "this is what the protection is for"
    evidence(f"attacks of {role} that fail, and succeed unprotected", len(attacks))


@pytest.mark.claim("attacks-fail", "access-matrix")
def test_new_objects_are_closed_before_and_after_every_commit(
    templates: Templates, server: Server, evidence: Evidence
) -> None:
    """While an online migration goes on, no commit leaves a new object open, not even until the next one.

    Between two commits is time enough to empty seven tables, and a stopped migration stays there overnight.
    """
    database = templates.clone("deployed")
    user = _someone(database)
    tries = {
        (name, privilege): _tries(name, user)[privilege]
        for name in (*NEW_TABLES, *SIGNATURES)
        for privilege in sorted(_privileges(server)[name] - {"REFERENCES", "TRIGGER", "MAINTAIN"})
    }
    visitors = {role: log_in(database, role) for role in ("anon", "authenticated")}
    trusted = {"service_role": log_in(database, "service_role"), OWNER: database.connect(OWNER)}
    for session in (*visitors.values(), *trusted.values()):
        # The migration waits for this very test: what it has locked is not to be had.
        session.execute("SET lock_timeout = '50ms'")
    tried: Counter[str | int] = Counter()
    seen: dict[str, set[tuple[str, str]]] = {role: set() for role in trusted}
    commits: list[list[Any]] = []

    def look(statement: Statement) -> None:
        if statement.sql != "COMMIT;":
            return
        there = [_what_is_there(session) for session in visitors.values()]
        assert all(not held for objects in there for _, held in objects), there
        if commits and there == commits[-1]:
            commits.append(there)
            return
        commits.append(there)
        for session in visitors.values():
            tried.update(outcomes(session, tries).values())
        for role, session in trusted.items():
            results = outcomes(session, {each: tries[each] for each in tries if each not in seen[role]})
            seen[role].update(each for each, result in results.items() if isinstance(result, int))

    with Proxy(server) as proxy:
        proxy.before(look)
        proxy.after(look)
        done = run("--dsn", proxy.dsn(database.name, OWNER), "--force", "--online", "--lock-timeout", "2s")
        assert done.status == DONE, done.err
    assert set(tried) <= {DENIED, *_NOT_THERE, _state(errors.LockNotAvailable)}, tried
    assert tried[DENIED] > len(tries)
    assert len(commits) > 2 * 50
    # The same statements succeed for whom they are meant, as soon as the objects are there.
    assert seen[OWNER] == set(tries)
    assert seen["service_role"] == {
        (name, privilege) for name, privilege in tries if privilege in PROMISED[name]["service_role"]
    }
    evidence("moments at which nothing was open", len(commits))
    evidence("attempts then, by SQLSTATE", {str(state): count for state, count in tried.items()})
    database.drop()


def _what_is_there(session: Connection) -> list[tuple[Any, ...]]:
    """The new objects that this session sees by now, and whether it has any privilege on them."""
    return session.execute(
        """
        SELECT c.relname::text,
            has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
            OR has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
        FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s)
        UNION ALL
        SELECT p.proname::text, has_function_privilege(p.oid, 'EXECUTE')
        FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace AND p.proname = ANY (%s)
        ORDER BY 1
        """,
        [list(NEW_TABLES), [name for name, _ in FUNCTIONS]],
    ).fetchall()


@pytest.mark.claim("attacks-fail")
def test_row_security_holds_when_the_grants_come_back(exposed: Database) -> None:
    """A GRANT ALL ON ALL TABLES, which setup guides recommend, and a policy that allows all open no row of ours.

    Grants are given back by one line of a guide; the memberships would be readable by everybody the same day.
    """
    user = _someone(exposed)
    with exposed.connect() as superuser:
        superuser.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated")
        for table in NEW_TABLES:
            superuser.execute(f"CREATE POLICY everything ON public.{table} USING (TRUE) WITH CHECK (TRUE)".encode())
    attacks: dict[str, Attempt] = {}
    for table in NEW_TABLES:
        attacks |= {
            f"read {table}": f"SELECT * FROM public.{table}",
            f"insert into {table}": _INSERTS[table].format(user=user),
            f"update {table}": f"UPDATE public.{table} SET created_at = now()",
            f"delete from {table}": f"DELETE FROM public.{table}"
            + (" WHERE slug = 'lone'" if table == "organizations" else ""),
        }
    attacks["insert into user_organizations"] = (
        f"INSERT INTO public.user_organizations (user_id, organization_id) VALUES ('{user}', '{ACME}')"
    )
    expected = {name: DENIED if name.startswith("insert") else 0 for name in attacks}
    lifted = [
        "INSERT INTO public.organizations (name, slug) VALUES ('Lone', 'lone')",
        *(f"DROP POLICY phase_1_denied ON public.{table}" for table in NEW_TABLES),
    ]
    for role in ("anon", "authenticated"):
        assert outcomes(log_in(exposed, role, user), attacks) == expected
        with opened(exposed, role, *lifted, user=user) as unprotected:
            control = outcomes(unprotected, attacks)
            assert {name: result for name, result in control.items() if not succeeded(result)} == {}


@pytest.mark.claim("attacks-fail")
@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_protection_cannot_be_taken_away_by_whom_it_is_for(exposed: Database, role: str) -> None:
    """Policies, grants, defaults and functions are changed by their owner only, and nobody becomes the owner.

    A protection that its attacker can switch off protects nothing.
    """
    attacks: dict[str, Attempt] = {
        "switch row security off": "ALTER TABLE public.organizations DISABLE ROW LEVEL SECURITY",
        "drop the denial": "DROP POLICY phase_1_denied ON public.user_organizations",
        "drop a pin": "DROP POLICY phase_1_client_pinned ON public.uploads",
        "loosen a pin": "ALTER POLICY phase_1_client_pinned_update ON public.uploads USING (TRUE) WITH CHECK (TRUE)",
        "allow all": "CREATE POLICY mine ON public.organizations USING (TRUE)",
        "change the default": f"ALTER TABLE public.uploads ALTER COLUMN client_id SET DEFAULT '{ACME}'",
        "grant a table": f"GRANT SELECT ON public.organizations TO {role}",
        "grant a function": f"GRANT EXECUTE ON FUNCTION public.{SIGNATURES[0]} TO {role}",
        "loosen a function": f"ALTER FUNCTION public.{SIGNATURES[1]} RESET search_path",
        "replace a function": "CREATE OR REPLACE FUNCTION public.get_user_organization_id(user_id uuid) RETURNS uuid"
        f" LANGUAGE sql AS 'SELECT ''{ACME}''::uuid'",
        "drop a function": f"DROP FUNCTION public.{SIGNATURES[2]}",
        "drop the log": "DROP TABLE public.migration_log",
        "inherit": "CREATE TEMP TABLE mine () INHERITS (public.organizations)",
        "divert by a rule": "CREATE RULE mine AS ON INSERT TO public.uploads DO INSTEAD NOTHING",
        "see every row": "SET LOCAL row_security = off; SELECT * FROM public.uploads",
        "become the owner": f"SET LOCAL ROLE {OWNER}",
        "come in as the owner": f"SET LOCAL SESSION AUTHORIZATION {OWNER}",
        "prepare the next table": f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT ALL ON TABLES TO {role}",
    }
    assert outcomes(log_in(exposed, role), attacks) == dict.fromkeys(attacks, DENIED)
    control = outcomes(exposed.connect(OWNER), attacks)
    assert {name: result for name, result in control.items() if not succeeded(result)} == {}


@pytest.mark.claim("attacks-fail")
def test_statistics_of_the_new_tables_are_hidden(exposed: Database) -> None:
    """What the planner knows of the organizations is shown to nobody who may not read them.

    pg_stats has the most common values of each column: the names of the clients.
    """
    attack = "SELECT FROM pg_catalog.pg_stats WHERE schemaname = 'public' AND tablename = 'organizations'"
    for role in ("anon", "authenticated"):
        assert outcome(log_in(exposed, role), attack) == 0
        with opened(exposed, role, *_UNPROTECTED) as unprotected:
            assert succeeded(outcome(unprotected, attack))


@pytest.mark.claim("attacks-fail", "functions-are-hardened")
def test_functions_do_not_take_names_of_their_caller(templates: Templates, variant: str) -> None:
    """Operators and tables that the caller puts in front do not change the answer, nor run with the owner's rights.

    A function that runs as the owner of the tables with the caller's search_path is a key to all of them.
    """
    database = templates.clone(variant)
    try:
        ran = run("--dsn", database.owner_dsn, "--force", "--grant-execute-to", "authenticated")
        assert ran.status == DONE, ran.err
        user = _someone(database)
        with database.connect() as superuser:
            superuser.execute("INSERT INTO public.organizations (id, name, slug) VALUES (%s, 'Acme', 'acme')", [ACME])
            superuser.execute("CREATE SCHEMA scratch")
            # The owner too has to look there, or PostgreSQL itself passes it over.
            superuser.execute("GRANT ALL ON SCHEMA scratch TO PUBLIC")
        attacker = log_in(database, "authenticated", user)
        attacker.execute("CREATE FUNCTION scratch.yes(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT TRUE'")
        attacker.execute("CREATE OPERATOR scratch.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = scratch.yes)")
        attacker.execute("CREATE TEMP TABLE users AS SELECT %s::uuid AS id, %s::uuid AS client_id", [user, ACME])
        attacker.execute("CREATE TEMP TABLE organizations AS SELECT %s::uuid AS id, TRUE AS is_active", [ACME])
        attacker.execute(
            "CREATE TEMP TABLE user_organizations AS SELECT gen.id, %s::uuid AS user_id, %s::uuid AS organization_id,"
            " TRUE AS is_active, now() AS created_at FROM (SELECT %s::uuid AS id) AS gen",
            [user, ACME, UNKNOWN],
        )
        attacker.execute("SET search_path = pg_temp, scratch, pg_catalog, public")
        access = f"SELECT public.validate_client_access('{user}', '{ACME}')"
        access_of_nobody = f"SELECT public.validate_client_access('{UNKNOWN}', '{DEFAULT_ORGANIZATION}')"
        organization = f"SELECT public.get_user_organization_id('{user}')::text"
        assert _one(attacker, access) is False
        assert _one(attacker, access_of_nobody) is False
        assert _one(attacker, organization) == DEFAULT_ORGANIZATION
        with database.connect() as superuser:
            superuser.execute(f"ALTER FUNCTION public.{SIGNATURES[1]} RESET search_path".encode())
        assert _one(attacker, access) is True, "without a fixed search_path the attack does not succeed either"
        assert _one(attacker, access_of_nobody) is True
    finally:
        database.drop()


@pytest.mark.claim("attacks-fail", "functions-are-hardened")
def test_function_created_anew_is_open_and_verify_says_so(exposed: Database) -> None:
    """A function that somebody drops and creates again is open to the web API, and --verify names it.

    A repair in a hurry would otherwise hand every user's organization to every visitor, and nobody would know.
    """
    before = run("--dsn", exposed.owner_dsn, "--verify", "--json")
    assert (before.status, before.of("functions_are_closed")) == (DONE, [])
    owner = exposed.connect(OWNER)
    [(definition,)] = owner.execute("SELECT pg_get_functiondef('public.get_user_organization_id'::regproc)")
    owner.execute("DROP FUNCTION public.get_user_organization_id(uuid)")
    owner.execute(definition.encode())
    asked = f"SELECT public.get_user_organization_id('{ACME_USER}')"
    assert succeeded(outcome(log_in(exposed, "anon"), asked))
    found = run("--dsn", exposed.owner_dsn, "--verify", "--json")
    assert found.status == VIOLATIONS
    named = " ".join(finding["problem"] for finding in found.of("functions_are_closed"))
    assert "PUBLIC" in named


@pytest.mark.claim("attacks-fail", "access-matrix")
def test_protection_is_there_again_after_a_rollback_and_a_migration(exposed: Database) -> None:
    """Tables and functions that are dropped and created again are closed again, whatever the default privileges say.

    DROP and CREATE give an object back to the default privileges: the second migration has to close it as the first.
    """
    for arguments in (["--rollback", "--force"], ["--force"]):
        ran = run("--dsn", exposed.owner_dsn, *arguments)
        assert ran.status == DONE, ran.err
    attacks = {
        "read": "SELECT FROM public.user_organizations",
        "read the log": "SELECT FROM public.migration_log",
        "empty": "TRUNCATE public.organizations CASCADE",
        "ask": f"SELECT public.get_user_organization_id('{ACME_USER}')",
        "count": "SELECT public.validate_client_data_integrity()",
    }
    for role in ("anon", "authenticated"):
        assert outcomes(log_in(exposed, role), attacks) == dict.fromkeys(attacks, DENIED)
    reads = {name: attack for name, attack in attacks.items() if name != "empty"}
    assert all(isinstance(result, int) for result in outcomes(log_in(exposed, "service_role"), reads).values())


# Writes are pinned -------------------------------------------------------------------------------------


def _someone(database: Database) -> str:
    """A user of the default organization who has uploaded something."""
    [(user,)] = database.query("SELECT user_id::text FROM public.uploads WHERE user_id IS NOT NULL ORDER BY 1 LIMIT 1")
    return str(user)


def _writes(server: Server, table: str, key: str) -> dict[str, tuple[Attempt, str | int]]:
    """Every way to write a row of another client, and what has to come of it; ``key`` is the row that it has."""
    own = f"client_id = '{DEFAULT_ORGANIZATION}'"
    insert = _insert(table, "new", client_id=ACME)
    upsert = _insert(table, "upserted", id=key) + " ON CONFLICT (id) DO UPDATE SET"
    writes: dict[str, tuple[Attempt, str | int]] = {
        "insert": (insert, DENIED),
        "insert, to be told": (insert + " RETURNING id", DENIED),
        # As for a client that is there: nobody can find out by trying which ones are.
        "insert into a client that is not there": (insert.replace(ACME, UNKNOWN), DENIED),
        "insert unless it is there": (insert + " ON CONFLICT DO NOTHING", DENIED),
        "move": (f"UPDATE public.{table} SET client_id = '{ACME}' WHERE {own}", DENIED),
        "steal": (f"UPDATE public.{table} SET {own} WHERE client_id = '{ACME}'", 0),
        "edit": (f"UPDATE public.{table} SET {_EDITS[table]} WHERE client_id = '{ACME}'", 0),
        "delete": (f"DELETE FROM public.{table} WHERE client_id = '{ACME}'", 0),
        "lock": (f"SELECT FROM public.{table} WHERE client_id = '{ACME}' FOR UPDATE", 0),
        "upsert": (f"{upsert} {_EDITS[table]}", DENIED),
        "steal by an upsert": (f"{upsert} {own}", DENIED),
        "write in a WITH": (f"WITH made AS ({insert} RETURNING id) SELECT * FROM made", DENIED),
    }
    if server.major >= 15:
        merge = (
            f"MERGE INTO public.{table} AS t USING (SELECT '{key}' AS key) AS s ON t.id::text = s.key WHEN MATCHED THEN"
        )
        writes["merge"] = (f"{merge} UPDATE SET {own}", DENIED)
        writes["delete by a merge"] = (f"{merge} DELETE", DENIED)
    return writes


#: What a later phase does with a signed-in user of Acme.
_ISOLATED = tuple(
    f"CREATE POLICY isolated ON public.{table} AS RESTRICTIVE TO authenticated USING (client_id = '{ACME}')"
    for table in TENANT_TABLES
)
#: The most that a policy of the application can allow.
_EVERYTHING_ALLOWED = tuple(
    f"CREATE POLICY everything ON public.{table} TO anon, authenticated USING (TRUE) WITH CHECK (TRUE)"
    for table in TENANT_TABLES
)
_PINS_DROPPED = tuple(
    f"DROP POLICY phase_1_client_pinned{suffix} ON public.{table}"
    for table in TENANT_TABLES
    for suffix in ("", "_update", "_delete")
)


@pytest.mark.claim("writes-pinned")
@pytest.mark.parametrize("role", ["anon", "authenticated", "a member of authenticated"])
def test_rows_of_another_client_are_written_by_nobody_of_the_web_api(
    templates: Templates, server: Server, make_role: Callable[[str], str], role: str, evidence: Evidence
) -> None:
    """On every table each way to write another client's row fails, even if the application's policies allow all.

    A signed-in user could otherwise put sales into a competitor's figures, or take them out.
    """
    database = templates.clone("deployed-migrated")
    try:
        with database.connect() as superuser:
            _add_second_client(superuser)
            for statement in _EVERYTHING_ALLOWED:
                superuser.execute(statement.encode())
        user = _someone(database)
        if role in IDENTITIES:
            session = log_in(database, role, user)
        else:
            # Somebody with a login of one's own, who has the rights of the web API by membership.
            session = database.connect(make_role("IN ROLE authenticated"))
            assert _identity(session)[2:] == (False, False)
        writes = {table: _writes(server, table, _key(database, table)) for table in TENANT_TABLES}
        attempts = {f"{table}: {name}": each for table in writes for name, each in writes[table].items()}
        tried = {name: outcome(session, attempt) for name, (attempt, _) in attempts.items()}
        assert tried == {name: expected for name, (_, expected) in attempts.items()}
        for table in TENANT_TABLES:
            assert outcome(session, _insert(table, "own")) == 1, "the application's own rows are pinned away too"
            assert outcome(session, _insert(table, "own", client_id=DEFAULT_ORGANIZATION)) == 1
        with opened(database, "authenticated", *_PINS_DROPPED, user=user) as unprotected:
            control = {name: outcome(unprotected, attempt) for name, (attempt, _) in attempts.items()}
        unknown = {name for name in attempts if name.endswith("a client that is not there")}
        assert {control[name] for name in unknown} == {_state(errors.ForeignKeyViolation)}
        assert {name for name, result in control.items() if not succeeded(result)} == unknown
        evidence(f"ways to write another client's row, tried by {role}", len(attempts))
    finally:
        database.drop()


def _key(database: Database, table: str) -> str:
    [(key,)] = database.query(f"SELECT id::text FROM public.{table} WHERE client_id = '{ACME}'")
    return str(key)


@pytest.mark.claim("writes-pinned")
def test_pins_look_at_the_row_that_is_written(exposed: Database) -> None:
    """A trigger or a rule that changes the client on the way is seen by the pin, and COPY is refused as before.

    The web API's roles have TRIGGER on the tables: what a trigger of theirs writes would be nobody's check.
    """
    user = _someone(exposed)
    attacks: dict[str, Attempt] = {
        "divert by a trigger": "CREATE FUNCTION pg_temp.divert() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN NEW.client_id := ''{ACME}''; RETURN NEW; END';"
        " CREATE TRIGGER zz_divert BEFORE INSERT ON public.products FOR EACH ROW EXECUTE FUNCTION pg_temp.divert();"
        f" {_insert('products', 'diverted')}",
        "divert an update by a trigger": "CREATE FUNCTION pg_temp.divert() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN NEW.client_id := ''{ACME}''; RETURN NEW; END';"
        " CREATE TRIGGER zz_divert BEFORE UPDATE ON public.products FOR EACH ROW EXECUTE FUNCTION pg_temp.divert();"
        " UPDATE public.products SET name = 'diverted'",
    }
    copy = Copy("COPY public.products (ean, name, client_id) FROM STDIN", (("copied", "Lamp", ACME),))
    session = log_in(exposed, "authenticated", user)
    assert outcomes(session, attacks) == dict.fromkeys(attacks, DENIED)
    assert outcome(session, copy) == _state(errors.FeatureNotSupported)  # row-level security and COPY FROM
    with opened(exposed, "authenticated", *_PINS_DROPPED, user=user) as unprotected:
        assert all(succeeded(result) for result in outcomes(unprotected, attacks).values())
    assert outcome(log_in(exposed, "service_role"), copy) == 1


@pytest.mark.claim("writes-pinned")
def test_ways_around_the_pins_are_named_by_verify(exposed: Database, server: Server) -> None:
    """TRUNCATE, and a view with its owner's rights, ask no policy: once there is a second client they are named.

    Both were the application's before Phase 1, which does not touch its grants: somebody has to be told.
    """

    def named() -> dict[str, str]:
        ran = run("--dsn", exposed.owner_dsn, "--verify", "--json")
        assert ran.status == DONE, "it is a warning"
        return {finding["object"]: finding["action"] for finding in ran.of("nothing_goes_around_the_pins")}

    view = "public.returned_sales"
    around: dict[str, Attempt] = {
        "empty": "TRUNCATE public.email_logs",
        "edit through a view": f"UPDATE {view} SET quantity = 7",
        "delete through a view": f"DELETE FROM {view}",
    }
    visitor = log_in(exposed, "anon")
    assert all(succeeded(result) for result in outcomes(visitor, around).values())
    actions = named()
    assert actions.keys() == {view, *(f"public.{table}" for table in TENANT_TABLES)}
    with exposed.connect() as superuser:
        if server.major >= 15:  # the near miss: a view that asks for the rights of who uses it
            superuser.execute(f"ALTER VIEW {view} SET (security_invoker = on)".encode())
            assert view not in named()
            assert [outcome(visitor, around[name]) for name in around if name.endswith("a view")] == [0, 0]
            superuser.execute(f"ALTER VIEW {view} RESET (security_invoker)".encode())
        for action in actions.values():
            superuser.execute(action.encode())
        assert outcomes(visitor, around) == dict.fromkeys(around, DENIED)
        assert named() == {}
        superuser.execute("ALTER TABLE public.email_logs DISABLE ROW LEVEL SECURITY")
        assert named().keys() == {"public.email_logs"}
        superuser.execute("ALTER TABLE public.email_logs ENABLE ROW LEVEL SECURITY")
        # With one client there is nobody to protect from it.
        superuser.execute("GRANT TRUNCATE ON public.email_logs TO anon")
        superuser.execute("TRUNCATE public.user_organizations")
        for table in TENANT_TABLES:
            superuser.execute(f"UPDATE public.{table} SET client_id = DEFAULT".encode())
        superuser.execute("DELETE FROM public.organizations WHERE id = %s", [ACME])
        assert named() == {}


@pytest.mark.claim("writes-pinned")
def test_row_stays_in_its_client_through_a_view(exposed: Database) -> None:
    """A view of the application does not have the column, so that nobody puts or moves a row into a client by it.

    Its star was written out when it was made; one made after the migration has the column, and --verify names it.
    """
    attacks = {
        "insert": f"INSERT INTO public.returned_sales (year, month, quantity, client_id) VALUES (2026, 1, 1, '{ACME}')",
        "move": f"UPDATE public.returned_sales SET client_id = '{ACME}'",
    }
    for role in ("anon", "authenticated"):
        session = log_in(exposed, role)
        assert outcomes(session, attacks) == dict.fromkeys(attacks, _state(errors.UndefinedColumn))
    made_anew = (
        "DROP VIEW public.returned_sales",
        f"SET LOCAL ROLE {OWNER}",
        "CREATE VIEW public.returned_sales AS SELECT * FROM public.sellout_entries2 WHERE is_return",
        "GRANT ALL ON public.returned_sales TO anon",
        "RESET ROLE",
    )
    with opened(exposed, "anon", *made_anew) as unprotected:
        assert all(succeeded(result) for result in outcomes(unprotected, attacks).values())


@pytest.mark.claim("writes-pinned")
def test_rows_of_another_client_are_written_by_the_back_end(exposed: Database) -> None:
    """The application's back end, which has to serve every client, is not pinned.

    A pin on it would stop the first second client from being served at all.
    """
    for session in (log_in(exposed, "service_role"), exposed.connect(OWNER)):
        for table in TENANT_TABLES:
            writes = {
                "edit": f"UPDATE public.{table} SET {_EDITS[table]} WHERE client_id = '{ACME}'",
                "insert": _insert(table, "new", client_id=ACME),
                "move": f"UPDATE public.{table} SET client_id = '{ACME}'",
                "delete": f"DELETE FROM public.{table} WHERE client_id = '{ACME}'",
            }
            assert all(succeeded(result) for result in outcomes(session, writes).values()), table


#: What a signed-in user of the old application does, which has never heard of client_id.
_OLD_APPLICATION = (
    "INSERT INTO public.uploads (user_id, filename) VALUES (auth.uid(), 'own.csv')",
    "INSERT INTO public.sellout_entries2 (upload_id, year, month, quantity)"
    " SELECT id, 2026, 3, 5 FROM public.uploads WHERE filename = 'own.csv'",
    "UPDATE public.sellout_entries2 SET quantity = quantity + 1 WHERE year = 2019",
    "DELETE FROM public.sellout_entries2 WHERE id = (SELECT min(id) FROM public.sellout_entries2)",
    "INSERT INTO public.products (ean, name) VALUES ('own', 'Lamp')",
    "INSERT INTO public.products (ean, name) VALUES ('own', 'Lamp ☕')"
    " ON CONFLICT (ean) DO UPDATE SET name = excluded.name",
    "UPDATE public.products SET is_active = TRUE",
    "DELETE FROM public.products WHERE ean = 'own'",
    "INSERT INTO public.processing_logs (stage, status) VALUES ('parsed', 'ok')",
    "INSERT INTO public.transform_logs (transformation) VALUES ('ean')",
    "UPDATE public.transform_logs SET duration_ms = 1",
    "SELECT public.finish_upload(id) FROM public.uploads WHERE filename = 'own.csv'",
    "UPDATE public.users SET full_name = 'Zoë Bücher' WHERE id = auth.uid()",
    "DELETE FROM public.uploads WHERE filename = 'own.csv'",
)


@pytest.mark.claim("writes-pinned")
@pytest.mark.parametrize("kind", HOSTILE)
def test_signed_in_user_of_the_old_application_writes_as_before(templates: Templates, kind: str) -> None:
    """Every statement of a signed-in user touches as many rows after the migration as before, in the default client.

    The day of the migration is otherwise the day on which nobody can upload anything.
    """
    touched = []
    for stage in (kind, f"{kind}-migrated"):
        database = templates.clone(stage)
        try:
            user = _someone(database)
            session = log_in(database, "authenticated", user)
            with session.transaction(force_rollback=True):
                touched.append([session.execute(statement.encode()).rowcount for statement in _OLD_APPLICATION])
            with session.transaction(force_rollback=True):
                for statement in _OLD_APPLICATION[:-1]:
                    session.execute(statement.encode())
                if stage != kind:
                    clients = {
                        str(client)
                        for table in ("uploads", "sellout_entries2", "processing_logs", "transform_logs")
                        for (client,) in session.execute(f"SELECT DISTINCT client_id FROM public.{table}".encode())
                    }
                    assert clients == {DEFAULT_ORGANIZATION}
        finally:
            database.drop()
    before, after = touched
    assert all(before), "a statement touches nothing"
    assert after == before


@pytest.mark.claim("writes-pinned")
def test_pins_come_back_where_one_was_dropped(exposed: Database) -> None:
    """A second run mends pins that somebody has dropped in part, and the rollback gets past them.

    A run that stops at what is left of them would leave both ways, forward and back, closed.
    """
    with exposed.connect() as superuser:
        superuser.execute("DROP POLICY phase_1_client_pinned_delete ON public.uploads")
    attack = f"DELETE FROM public.uploads WHERE client_id = '{ACME}'"
    with exposed.connect() as superuser:
        superuser.execute("CREATE POLICY everything ON public.uploads FOR DELETE TO authenticated USING (TRUE)")
    session = log_in(exposed, "authenticated")
    assert succeeded(outcome(session, attack))
    assert run("--dsn", exposed.owner_dsn, "--verify").status == VIOLATIONS
    assert run("--dsn", exposed.owner_dsn, "--force").status == DONE
    assert outcome(session, attack) == 0
    assert run("--dsn", exposed.owner_dsn, "--verify").status == DONE
    with exposed.connect() as superuser:
        superuser.execute("DROP POLICY phase_1_client_pinned ON public.uploads")
    assert run("--dsn", exposed.owner_dsn, "--rollback", "--force").status == DONE


@pytest.mark.claim("writes-pinned")
def test_pins_stay_away_once_phase_2_has_replaced_them(exposed: Database) -> None:
    """Where Phase 2 has replaced the pins by policies of its own, a second run of Phase 1 does not bring them back.

    They would keep every client but the default one from writing anything.
    """
    with exposed.connect() as superuser:
        for statement in (*_PINS_DROPPED, *_ISOLATED):
            superuser.execute(statement.encode())
    assert run("--dsn", exposed.owner_dsn, "--force").status == DONE
    pinned = (
        "SELECT polname::text, polroles::regrole[]::text FROM pg_policy WHERE polname LIKE 'phase_1_client_pinned%'"
    )
    assert exposed.query(pinned) == []
    attack = _insert("products", "new", client_id=ACME)
    assert outcome(log_in(exposed, "authenticated"), attack) == 1
    assert run("--dsn", exposed.owner_dsn, "--verify").status == DONE
    # A role that it has forgotten, at the one thing that it has forgotten, is missed and pinned by itself.
    with exposed.connect() as superuser:
        superuser.execute("GRANT INSERT ON public.products TO anon")
        superuser.execute("CREATE POLICY visitors ON public.products FOR INSERT TO anon WITH CHECK (TRUE)")
    visitor = log_in(exposed, "anon")
    assert outcome(visitor, attack) == 1
    missed = run("--dsn", exposed.owner_dsn, "--verify", "--json").of("writes_are_pinned")
    assert [each["object"] for each in missed] == ["public.products"], "writes_are_pinned"
    assert run("--dsn", exposed.owner_dsn, "--force").status == DONE
    assert exposed.query(pinned) == [("phase_1_client_pinned", "{anon}")]
    assert (outcome(visitor, attack), outcome(log_in(exposed, "authenticated"), attack)) == (DENIED, 1)
    assert run("--dsn", exposed.owner_dsn, "--verify").status == DONE


#: Policies that have the word client_id in them and keep nobody of the web API to a client of that table.
_ONLY_THE_WORD = (
    "CREATE POLICY word ON public.email_logs FOR SELECT TO authenticated"
    " USING (subject <> current_setting('jwt.oauth_client_id', TRUE))",
    "CREATE POLICY parent ON public.sellout_entries2 TO authenticated"
    " USING (upload_id IN (SELECT id FROM public.uploads WHERE client_id IS NOT NULL))",
    f"CREATE POLICY back_end ON public.sellout_entries2 TO service_role USING (client_id <> '{ACME}')",
    f"CREATE POLICY reading ON public.sellout_entries2 FOR SELECT TO authenticated USING (client_id <> '{ACME}')",
    f"CREATE POLICY elsewhere ON public.uploads TO authenticated USING (client_id <> '{ACME}')",
    # Of permissive policies one is enough to get through, and the application has one that lets everybody.
    f"CREATE POLICY beside ON public.sellout_entries2 TO authenticated USING (client_id <> '{ACME}')",
)


@pytest.mark.claim("writes-pinned", "verify-finds-violations")
@pytest.mark.parametrize("policy", _ONLY_THE_WORD, ids=lambda policy: policy.split()[2])
def test_pins_are_asked_for_unless_a_policy_of_that_table_looks_at_its_client(exposed: Database, policy: str) -> None:
    """A policy that has the word in it, is about another table or role, or stands beside others, does not replace pins.

    One word in a policy about e-mails switches off what keeps sales from being put into another client.
    """
    with exposed.connect() as superuser:
        superuser.execute(policy.encode())
        for suffix in ("", "_update", "_delete"):
            superuser.execute(f"DROP POLICY phase_1_client_pinned{suffix} ON public.sellout_entries2".encode())
    found = run("--dsn", exposed.owner_dsn, "--verify", "--json")
    named = [each["object"] for each in found.of("writes_are_pinned")]
    assert named == ["public.sellout_entries2"] * 3, "writes_are_pinned"
    assert found.status == VIOLATIONS
    assert found.of("clients_are_isolated")
    attack = _insert("sellout_entries2", "new", client_id=ACME)
    assert succeeded(outcome(log_in(exposed, "authenticated"), attack))
    assert run("--dsn", exposed.owner_dsn, "--force").status == DONE
    assert outcome(log_in(exposed, "authenticated"), attack) == DENIED
    assert run("--dsn", exposed.owner_dsn, "--verify").status == DONE


@pytest.mark.claim("writes-pinned", "verify-finds-violations")
def test_isolation_is_missed_until_the_last_table_that_the_web_api_reads_has_it(exposed: Database) -> None:
    """Where policies of a later phase look at client_id, table by table, the warning stays until they all do.

    The one table that was forgotten shows a competitor's rows, and nobody is told.
    """

    def missed() -> str:
        found = run("--dsn", exposed.owner_dsn, "--verify", "--json")
        assert found.status == DONE, found.err
        return " ".join(each["problem"] for each in found.of("clients_are_isolated"))

    with exposed.connect() as superuser:
        for table, statement in zip(TENANT_TABLES, _ISOLATED, strict=True):
            # Beside a policy that does not look at it, one that does keeps nobody from anything.
            superuser.execute(statement.replace("RESTRICTIVE", "PERMISSIVE").encode())
            assert table in missed()
            superuser.execute(f"DROP POLICY isolated ON public.{table}".encode())
            for drop in _PINS_DROPPED:
                if drop.endswith(f".{table}"):
                    superuser.execute(drop.encode())
            superuser.execute(statement.encode())
        assert "on: products)" in missed(), "which visitors read as well"
        superuser.execute("ALTER POLICY isolated ON public.products TO anon, authenticated")
        assert missed() == ""
        # A policy is asked where row-level security is on only.
        for table in ("uploads", "products", "email_logs"):
            superuser.execute(f"ALTER TABLE public.{table} DISABLE ROW LEVEL SECURITY".encode())
        assert "on: email_logs, products, uploads)" in missed()
        for table in ("products", "email_logs"):
            superuser.execute(f"ALTER TABLE public.{table} ENABLE ROW LEVEL SECURITY".encode())
        # Who may not read it sees nobody's rows.
        superuser.execute("REVOKE ALL ON public.uploads FROM anon, authenticated")
        assert missed() == ""
        # Nor does who may, where row-level security is on and no policy lets anybody.
        superuser.execute("ALTER TABLE public.uploads ENABLE ROW LEVEL SECURITY")
        superuser.execute("GRANT SELECT ON public.uploads TO anon, authenticated")
        policies = "SELECT polname FROM pg_policy WHERE polrelid = 'public.uploads'::regclass"
        for (name,) in superuser.execute(policies.encode()).fetchall():
            superuser.execute(f"DROP POLICY {name} ON public.uploads".encode())
        superuser.execute("CREATE POLICY less ON public.uploads AS RESTRICTIVE FOR SELECT TO PUBLIC USING (TRUE)")
        superuser.execute("CREATE POLICY more ON public.uploads FOR INSERT TO PUBLIC WITH CHECK (TRUE)")
        superuser.execute("CREATE POLICY ours ON public.uploads FOR SELECT TO service_role USING (TRUE)")
        assert run("--dsn", exposed.owner_dsn, "--verify", "--json").of("clients_are_isolated") == []


# What was there ----------------------------------------------------------------------------------------

_GRANTS = """
SELECT format('relation %s', c.oid::regclass), jsonb_build_object(
    'owner', pg_get_userbyid(c.relowner), 'grants', c.relacl::text, 'kind', c.relkind,
    'row security', c.relrowsecurity, 'forced', c.relforcerowsecurity,
    'of columns', (SELECT jsonb_object_agg(attname, attacl::text) FROM pg_attribute
        WHERE attrelid = c.oid AND attacl IS NOT NULL))
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relkind IN ('r', 'v', 'm', 'S', 'p', 'f')
UNION ALL
SELECT format('policy %s on %s', p.polname, p.polrelid::regclass), jsonb_build_object(
    'command', p.polcmd, 'permissive', p.polpermissive,
    'roles', ARRAY(SELECT coalesce(r.rolname::text, 'PUBLIC') FROM unnest(p.polroles) AS given (oid)
        LEFT JOIN pg_roles AS r ON r.oid = given.oid ORDER BY 1),
    'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy AS p
UNION ALL
SELECT format('function %s', p.oid::regprocedure), jsonb_build_object(
    'owner', pg_get_userbyid(p.proowner), 'grants', p.proacl::text, 'definer', p.prosecdef, 'settings', p.proconfig)
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
UNION ALL
SELECT format('schema %s', nspname), jsonb_build_object('owner', pg_get_userbyid(nspowner), 'grants', nspacl::text)
FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)'
UNION ALL
SELECT format('default privileges of %s in %s on %s', pg_get_userbyid(defaclrole), defaclnamespace::regnamespace,
    defaclobjtype), to_jsonb(defaclacl::text)
FROM pg_default_acl
UNION ALL
SELECT 'database', jsonb_build_object('owner', pg_get_userbyid(datdba), 'grants', datacl::text)
FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT format('member %s of %s', pg_get_userbyid(member), pg_get_userbyid(roleid)), to_jsonb(admin_option)
FROM pg_auth_members
WHERE pg_get_userbyid(roleid) IN ('app_owner', 'anon', 'authenticated', 'service_role', 'authenticator')
UNION ALL
SELECT format('role %s', rolname), to_jsonb(r) - 'oid'
FROM pg_roles AS r WHERE rolname IN ('app_owner', 'anon', 'authenticated', 'service_role', 'authenticator')
"""


def _grants(database: Database) -> dict[str, Any]:
    return {str(name): properties for name, properties in database.query(_GRANTS)}


def _pins() -> dict[str, dict[str, Any]]:
    condition = f"(client_id = '{DEFAULT_ORGANIZATION}'::uuid)"
    commands = {"": ("a", None, condition), "_update": ("w", condition, condition), "_delete": ("d", condition, None)}
    return {
        f"policy phase_1_client_pinned{suffix} on {table}": {
            "command": command,
            "permissive": False,
            "roles": ["anon", "authenticated"],
            "using": using,
            "check": check,
        }
        for table in TENANT_TABLES
        for suffix, (command, using, check) in commands.items()
    }


_NEW_ENTRIES = {
    *(f"relation {name}" for name in (*NEW_TABLES, SEQUENCE)),
    *(f"policy phase_1_denied on {name}" for name in NEW_TABLES),
    "function get_user_organization_id(uuid)",
    "function validate_client_access(uuid,uuid)",
    "function validate_client_data_integrity()",
}


@pytest.mark.claim("nothing-else-granted")
@pytest.mark.parametrize("mode", ["transactional", "online"])
@pytest.mark.parametrize("kind", ["founding", *HOSTILE])
def test_access_to_what_was_there_is_as_it_was(templates: Templates, kind: str, mode: str, evidence: Evidence) -> None:
    """Grants, policies, row security and default privileges are equal before and after, but for the pins.

    A migration that opens, or closes, anything else is found by the attacker, or by the customer.
    """
    database = templates.clone(kind)
    try:
        before = _grants(database)
        ran = run("--dsn", database.owner_dsn, "--force", *(["--online"] if mode == "online" else []))
        assert ran.status == DONE, ran.err
        after = _grants(database)
        pins = _pins() if database.variant == "deployed" else {}
        assert after.keys() - before.keys() == _NEW_ENTRIES | pins.keys()
        assert {name: after[name] for name in pins} == pins
        assert {name: each for name, each in after.items() if name in before} == before
        evidence(f"grants, policies and defaults that are equal before and after, {kind}, {mode}", len(before))
        # A change would be seen: one column, to one role.
        database.execute("GRANT UPDATE (filename) ON public.uploads TO anon")
        changed = _grants(database)
        assert {name for name in changed if changed[name] != after[name]} == {"relation uploads"}
    finally:
        database.drop()


# The functions -----------------------------------------------------------------------------------------

_FUNCTIONS = """
SELECT p.oid::regprocedure::text, p.provolatile, p.proparallel, p.prosecdef, p.proconfig,
    pg_get_userbyid(p.proowner)::text,
    ARRAY(SELECT coalesce(r.rolname::text, 'PUBLIC') || CASE WHEN e.is_grantable THEN ' with grant option' ELSE '' END
        FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS e
        LEFT JOIN pg_roles AS r ON r.oid = e.grantee ORDER BY 1)
FROM pg_proc AS p
WHERE p.pronamespace = 'public'::regnamespace
    AND p.proname IN ('get_user_organization_id', 'validate_client_access', 'validate_client_data_integrity')
ORDER BY 1
"""


@pytest.mark.claim("functions-are-hardened")
def test_functions_are_stable_and_closed_and_fix_their_settings(guarded: Database) -> None:
    """The functions are STABLE, fix what they depend on, belong to the owner of the tables, and exist once each.

    A second function of the same name with other arguments, or a setting left to the caller, would be a way around.
    """
    who = [OWNER, "service_role"]
    assert guarded.query(_FUNCTIONS) == [
        ("get_user_organization_id(uuid)", "s", "s", True, ['search_path=""'], OWNER, who),
        ("validate_client_access(uuid,uuid)", "s", "s", True, ['search_path=""'], OWNER, who),
        ("validate_client_data_integrity()", "s", "u", False, ['search_path=""', "row_security=off"], OWNER, who),
    ]


@pytest.mark.claim("functions-are-hardened", "access-matrix")
def test_functions_are_executed_by_the_roles_that_were_named(
    templates: Templates, variant: str, make_role: Callable[[str], str]
) -> None:
    """Roles named with --grant-execute-to may ask about users, however they are spelled, and nobody else may.

    Phase 2 builds its policies on these functions: a role that cannot call them can read nothing, and a role that
    can count everybody's rows knows too much.
    """
    named, other, unnamed = make_role(""), make_role(""), make_role("")
    database = templates.clone(variant)
    try:
        ran = run("--dsn", database.owner_dsn, "--force", "--grant-execute-to", named, "--grant-execute-to", other)
        assert ran.status == DONE, ran.err
        user = _someone(database)
        asked = {
            "organization": f"SELECT public.get_user_organization_id('{user}')",
            "access": f"SELECT public.validate_client_access('{user}', '{DEFAULT_ORGANIZATION}')",
            "integrity": "SELECT public.validate_client_data_integrity() WHERE FALSE",
        }
        may_ask: dict[str, str | int] = {"organization": 1, "access": 1, "integrity": DENIED}
        for role in (named, other):
            session = database.connect(role)
            assert _identity(session) == (role, role, False, False)
            assert outcomes(session, asked) == may_ask
            assert outcome(session, "SELECT FROM public.user_organizations") == DENIED
        for session in (database.connect(unnamed), log_in(database, "anon"), log_in(database, "authenticated")):
            assert outcomes(session, asked) == dict.fromkeys(asked, DENIED)
        assert outcomes(log_in(database, "service_role"), asked) == {"organization": 1, "access": 1, "integrity": 0}
    finally:
        database.drop()


@pytest.mark.claim("functions-are-hardened")
@pytest.mark.parametrize("name", ["PUBLIC", "public", "nobody of that name", 'anon" , "authenticated'])
def test_functions_are_granted_to_roles_only(database: Database, name: str) -> None:
    """A name that is no role's, PUBLIC among them, is refused before anything is touched.

    The one word that opens the functions to every visitor must not be taken for a role.
    """
    ran = run("--dsn", database.owner_dsn, "--force", "--json", "--grant-execute-to", name)
    assert (ran.status, len(ran.of("roles_exist"))) == (REFUSED, 1)
    assert database.query("SELECT to_regclass('public.organizations')") == [(None,)]


@pytest.mark.claim("functions-are-hardened", "access-matrix")
@pytest.mark.parametrize("where", ["", "IN SCHEMA public"], ids=["everywhere", "in public"])
def test_new_objects_are_closed_to_the_grantees_of_the_owners_default_privileges(
    templates: Templates, make_role: Callable[[str], str], where: str
) -> None:
    """Roles that the owner's default privileges give every new table and function get none of these.

    Databases have reporting and replication roles that were given everything in advance, for another purpose.
    """
    reporting = make_role("")
    database = templates.clone("founding")
    try:
        with database.connect() as superuser:
            for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
                statement = f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} {where} GRANT ALL ON {kind} TO {{}}"
                superuser.execute(sql.SQL(statement).format(sql.Identifier(reporting)))
        ran = run("--dsn", database.owner_dsn, "--force")
        assert ran.status == DONE, ran.err
        attacks: dict[str, Attempt] = {
            "read": "SELECT FROM public.organizations",
            "write": "INSERT INTO public.organizations (name, slug) VALUES ('Mine', 'mine')",
            "empty": "TRUNCATE public.user_organizations",
            "take a number": f"SELECT nextval('public.{SEQUENCE}')",
            "ask": "SELECT public.get_user_organization_id(NULL)",
            "count": "SELECT public.validate_client_data_integrity()",
        }
        session = database.connect(reporting)
        assert outcomes(session, attacks) == dict.fromkeys(attacks, DENIED)
        with database.connect(OWNER) as owner:
            owner.execute("CREATE TABLE public.other (id bigint GENERATED ALWAYS AS IDENTITY)")
            owner.execute("CREATE FUNCTION public.other() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
            owner.execute("REVOKE ALL ON FUNCTION public.other() FROM PUBLIC")
        given = ("SELECT public.other()", "TRUNCATE public.other", "SELECT nextval('public.other_id_seq')")
        assert all(succeeded(outcome(session, each)) for each in given), "the default privileges give nothing"
    finally:
        database.drop()


@pytest.mark.claim("attacks-fail")
@pytest.mark.pg("< 13")
def test_function_of_a_stranger_does_not_generate_the_ids(templates: Templates, stranger: str) -> None:
    """A gen_random_uuid() that anybody has made is not taken for PostgreSQL's, where that has none of its own.

    Everybody may create in public on PostgreSQL 12: as a default it would run with the rights of who inserts, the
    owner first of all.
    """
    database = templates.clone("founding")
    try:
        database.execute("DROP EXTENSION pgcrypto")
        with database.connect(stranger) as attacker:
            attacker.execute(
                "CREATE FUNCTION public.gen_random_uuid() RETURNS uuid LANGUAGE sql AS"
                " 'SELECT md5(current_user || random())::uuid'"
            )
        ran = run("--dsn", database.owner_dsn, "--force", "--json")
        assert (ran.status, len(ran.of("uuids_can_be_generated"))) == (REFUSED, 1)
        database.execute("DROP FUNCTION public.gen_random_uuid(); CREATE EXTENSION pgcrypto WITH SCHEMA public")
        assert run("--dsn", database.owner_dsn, "--force").status == DONE
    finally:
        database.drop()


@pytest.mark.claim("attacks-fail", "functions-are-hardened")
def test_functions_do_not_take_types_of_their_session(exposed: Database) -> None:
    """A temporary type that an earlier request left in a pooled session is not used by the functions of a later one.

    Temporary types come first whatever the search_path; a domain's check would run with the back end's rights.
    """
    session = log_in(exposed, "anon")
    session.execute(
        "CREATE FUNCTION pg_temp.steal(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'run as %', current_user USING ERRCODE = 'P0007'; END $$"
    )
    for name in ("text", "jsonb", "uuid", "regclass", "name", "oid"):
        session.execute(
            f"CREATE DOMAIN pg_temp.{name} AS pg_catalog.{name} CHECK (pg_temp.steal(VALUE::pg_catalog.text))"
        )
    asked: dict[str, Attempt] = {
        "integrity": "SELECT public.validate_client_data_integrity()",
        "organization": f"SELECT public.get_user_organization_id('{ACME_USER}')",
        "access": f"SELECT public.validate_client_access('{ACME_USER}', '{ACME}')",
    }
    # The next request of the same pooled session is the back end's.
    session.execute("SET ROLE service_role")
    assert outcomes(session, asked) == dict.fromkeys(asked, 1)
    [(definition,)] = session.execute(
        "SELECT pg_get_functiondef('public.validate_client_data_integrity()'::regprocedure)"
    )
    with exposed.connect(OWNER) as owner:
        owner.execute(definition.replace("pg_catalog.text", "text").encode())
    assert outcome(session, asked["integrity"]) == "P0007", "an unqualified type is not attacked either"


@pytest.mark.claim("functions-are-hardened", "data-integrity")
@pytest.mark.parametrize("sees", ["a role under policies", "the owner under FORCE"])
def test_integrity_raises_where_its_caller_does_not_see_every_row(exposed: Database, sees: str) -> None:
    """Who does not see every row gets an error from the check, and never a pass.

    A check that passes because it sees nothing is worse than none: it is what a release is decided on.
    """
    with exposed.connect() as superuser:
        superuser.execute("UPDATE public.users SET client_id = %s WHERE client_id <> %s", [ACME, ACME])
        if sees == "a role under policies":
            superuser.execute(f"GRANT EXECUTE ON FUNCTION public.{SIGNATURES[2]} TO authenticated".encode())
            superuser.execute("GRANT SELECT ON public.organizations, public.user_organizations TO authenticated")
            session = log_in(exposed, "authenticated")
        else:
            for table in TENANT_TABLES:
                superuser.execute(f"ALTER TABLE public.{table} FORCE ROW LEVEL SECURITY".encode())
            session = exposed.connect(OWNER)
            assert _identity(session) == (OWNER, OWNER, False, False)
        check = "SELECT public.validate_client_data_integrity() ->> 'status'"
        assert outcome(session, check) == DENIED
        assert _one(superuser, check) == "failed"
        assert _one(log_in(exposed, "service_role"), check) == "failed"
        superuser.execute(f"ALTER FUNCTION public.{SIGNATURES[2]} RESET row_security".encode())
        assert _one(session, check) == "passed", "without row_security = off this is no false pass"
