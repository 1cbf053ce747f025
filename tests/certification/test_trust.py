"""Nobody else's objects run with our rights: what other roles plant is refused, or never run.

What is planted raises an error in a session of the runner (``tests/support/attacks.py``), so that none of it can run
unseen. Each attack is tried as the owner of the tables and as a superuser, with every command.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from phase_1.problems import DONE, REFUSED, STOPPED, VIOLATIONS
from tests.plugins.database import OWNER, Database, Templates
from tests.plugins.server import MAJORS, Server, version_matches
from tests.support.attacks import ATTACKS, FUNCTIONS, RAN, Attack
from tests.support.proxy import Proxy, Statement
from tests.support.runner import Run, run
from tests.support.watchdog import REPOSITORY

pytestmark = pytest.mark.claim("nothing-foreign-runs")

#: What else a helper has made that the application uses.
_OF_THE_HELPER = (
    """
CREATE DOMAIN public.helpers_word AS text;
CREATE TYPE public.helpers_mood AS ENUM ('good', 'bad');
CREATE FUNCTION public.planted_mood(public.helpers_mood) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''good''';
CREATE FUNCTION public.planted_same(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT public.planted(1)';
CREATE OPERATOR public.### (LEFTARG = text, RIGHTARG = text, FUNCTION = public.planted_same);
CREATE COLLATION public.helpers_order FROM "C";
CREATE TABLE public.of_the_helper (id uuid);
CREATE FUNCTION public.planted_event() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
    IF current_setting('application_name') = 'phase_1' THEN
        RAISE EXCEPTION USING ERRCODE = 'ZZ999', MESSAGE = '"""
    + RAN
    + """'; END IF; END$$;
"""
)


#: The first attack of each kind: every command is tried on these, the ones that differ on the others.
FIRST = [each for number, each in enumerate(ATTACKS) if each.kind not in {other.kind for other in ATTACKS[:number]}]

#: The same functions without what they were planted for.
HARMLESS = re.sub(r"IF .*? END IF;", "", FUNCTIONS, flags=re.DOTALL).replace("CREATE", "CREATE OR REPLACE")


@contextmanager
def attacked(templates: Templates, server: Server, kind: str, attack: Attack) -> Iterator[Database]:
    """A database in which an attacker has planted something; the role goes with it."""
    database = templates.clone(kind)
    role = "anon" if attack.who == "anon" else f"phase1_{attack.who}_{secrets.token_hex(3)}"
    if attack.who != "anon":
        database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    try:
        database.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {role}")
        if attack.who == "member":
            database.execute(f"GRANT {role} TO {OWNER}")
        with database.connect() as session:
            session.execute(f"SET SESSION AUTHORIZATION {role}".encode())
            [(superuser, bypasses)] = session.execute(
                "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
            )
            assert not superuser, "the attacker is nobody in particular"
            assert not bypasses, "the attacker is nobody in particular"
            session.execute(FUNCTIONS.encode())
            if attack.who == "helper":
                session.execute(_OF_THE_HELPER.encode())
        database.execute(attack.prepared.replace("{role}", role).replace("{database}", database.name))
        with database.connect() as session:
            session.execute(f"SET SESSION AUTHORIZATION {role}".encode())
            session.execute(attack.planted.replace("{role}", role).encode())
        yield database
    finally:
        database.drop()
        if attack.who != "anon":
            with server.connect(server.database) as superuser:
                superuser.execute(f"DROP ROLE {role}".encode())


def tries(*attacks: Attack) -> list[object]:
    """Each attack as the owner and as a superuser, as a parameter with a telling id."""
    marks = {each: [pytest.mark.pg(each.pg)] if each.pg else [] for each in attacks}
    return [
        pytest.param(each, user, id=f"{each.id}-{'superuser' if user is None else 'owner'}", marks=marks[each])
        for each in attacks
        for user in (OWNER, None)
    ]


def names_it(ended: Run, attack: Attack, status: int) -> bool:
    """Whether the run has stopped at it, with the check that is to see it, and nothing of it has run."""
    assert RAN not in ended.out + ended.err, f"{attack.name}: {RAN}"
    found = ended.of(str(attack.refused_by))
    assert found, f"{attack.refused_by} is silent: {attack.name}"
    assert all(each["level"] == "error" and each["action"] for each in found)
    assert ended.status == status, ended.out + ended.err
    return True


def state(database: Database) -> list[tuple[object, ...]]:
    """Every object of schema public, and the columns of the tables."""
    return database.query(
        "SELECT c.oid, c.relname::text, c.relkind::text, c.relnatts, c.xmin::text, c.relfilenode FROM pg_class AS c"
        " WHERE c.relnamespace = 'public'::regnamespace"
        " UNION ALL SELECT oid, proname::text, 'function', 0, xmin::text, 0 FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
    )


@pytest.mark.parametrize(("attack", "user"), tries(*(each for each in ATTACKS if each.refused_by)))
def test_attack_is_refused_before_the_migration(
    attack: Attack, user: str | None, templates: Templates, server: Server
) -> None:
    """Whatever command is run on a database that others have prepared, it names what is planted and runs none of it.

    A role that may only create in schema public would else have the rights of the owner, or of a superuser.
    """
    commands = [["--dry-run"], ["--force"], *([["--force", "--online"], ["--status"]] if attack in FIRST else [])]
    with attacked(templates, server, "founding-tiny", attack) as database:
        dsn = ("--dsn", database.dsn(user), "--json")
        before = state(database)
        for command in commands:
            if command != ["--status"] or not attack.fires:
                assert names_it(run(*dsn, *command), attack, REFUSED)
        ended = run(*dsn, "--verify")
        if attack.fires:
            assert RAN not in ended.out + ended.err
        else:
            assert names_it(ended, attack, VIOLATIONS)
        assert state(database) == before


@pytest.mark.parametrize(("attack", "user"), tries(*(each for each in ATTACKS if each.refused_by and each.after)))
def test_attack_is_refused_after_the_migration(
    attack: Attack, user: str | None, templates: Templates, server: Server
) -> None:
    """What is planted between the migration and a check or the rollback is named there, and not run.

    The rollback is the moment of least attention: it is run at night, in a hurry.
    """
    with attacked(templates, server, "founding-tiny-migrated", attack) as database:
        dsn = ("--dsn", database.dsn(user), "--json")
        before = state(database)
        assert names_it(run(*dsn, "--verify"), attack, VIOLATIONS)
        assert names_it(run(*dsn, "--rollback", "--force"), attack, REFUSED)
        if attack in FIRST:
            assert names_it(run(*dsn, "--rollback", "--dry-run"), attack, REFUSED)
            assert names_it(run(*dsn, "--rollback", "--force", "--online"), attack, REFUSED)
            assert names_it(run(*dsn, "--force"), attack, REFUSED)
        assert state(database) == before


@pytest.mark.parametrize(("attack", "user"), tries(*(each for each in ATTACKS if not each.refused_by)))
def test_harmless_object_is_let_be_and_not_run(
    attack: Attack, user: str | None, templates: Templates, server: Server
) -> None:
    """What cannot run with our rights stops nobody: the migration, the checks and the rollback go through without it.

    A refusal without need is one more reason to switch the check off.
    """
    with attacked(templates, server, "founding-tiny", attack) as database:
        dsn = ("--dsn", database.dsn(user), "--json")
        online = ["--online"] if user else []
        for command in (["--dry-run"], ["--force", *online], ["--verify"], ["--rollback", "--force", *online]):
            ended = run(*dsn, *command)
            assert RAN not in ended.out + ended.err
            assert ended.status == DONE, ended.out + ended.err


def test_table_of_attacks_is_the_one_in_the_docs() -> None:
    """Each line of docs/whose-objects.md names its attacks, and each attack is in a line.

    A surface that is written down and not tried, or tried and not written down, is one that nobody looks at.
    """
    page = (REPOSITORY / "docs" / "whose-objects.md").read_text(encoding="utf-8")
    tried = re.findall(r"`([a-z][a-zA-Z0-9_'-]*)`", "".join(re.findall(r"^\|.*\|([^|]*)\|$", page, re.MULTILINE)))
    others = [each for each in tried if each.startswith("test_")]
    assert sorted(set(tried) - set(others)) == sorted(each.id for each in ATTACKS)
    assert [each for each in others if f"def {each}(" not in Path(__file__).read_text(encoding="utf-8")] == []


#: After which statement's COMMIT a trigger comes, what lets its owner create it, and what it is on.
_LATE = {
    "before the rows are filled": ("ALTER TABLE public.uploads", "", "uploads", "UPDATE"),
    "between two batches": ("UPDATE public.uploads", "", "uploads", "UPDATE"),
    "before the memberships": (
        "CREATE TABLE public.user_organizations",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        "user_organizations",
        "INSERT",
    ),
}


@pytest.mark.parametrize("user", [OWNER, None], ids=["owner", "superuser"])
@pytest.mark.parametrize("when", _LATE)
def test_trigger_that_comes_between_two_steps_does_not_fire(
    templates: Templates, server: Server, monkeypatch: pytest.MonkeyPatch, when: str, user: str | None
) -> None:
    """A trigger that is created after preflight, on rows that are written later, stops the run before it fires.

    Online there are minutes between the two, and on hosted databases the web API's roles are granted TRIGGER.
    """
    monkeypatch.setattr("phase_1.found.BATCH", 1)
    after, granted, table, event = _LATE[when]
    [attack] = [each for each in ATTACKS if each.name == "a trigger of uploads by who was granted TRIGGER"]
    late = replace(attack, planted="SELECT 1", refused_by=None)
    with attacked(templates, server, "founding-tiny", late) as database, Proxy(server) as proxy:
        [(role,)] = database.query("SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'phase1_member_%'")
        planted: list[Statement] = []

        def plant(statement: Statement) -> None:
            if statement.sql.startswith(after) and not planted:
                planted.append(statement)

        def between(statement: Statement) -> None:
            if statement.sql == "COMMIT;" and len(planted) == 1:
                planted.append(statement)
                database.execute(granted.replace("{role}", role) or "SELECT 1")
                with database.connect() as session:
                    session.execute(f"SET SESSION AUTHORIZATION {role}".encode())
                    session.execute(
                        f"CREATE TRIGGER planted BEFORE {event} ON public.{table}"
                        " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()".encode()
                    )

        proxy.before(plant)
        proxy.after(between)
        ended = run("--dsn", proxy.dsn(database.name, user), "--json", "--force", "--online")
        proxy.before(None)
        proxy.after(None)
        assert len(planted) == 2, "nothing was planted"
        assert RAN not in ended.out + ended.err, f"between two steps: {RAN}"
        assert (ended.status, "42501" in ended.json["error"]) == (STOPPED, True), ended.out
        # The next run names it before it begins.
        assert names_it(run("--dsn", database.dsn(user), "--json", "--force", "--online"), attack, REFUSED)


@pytest.mark.parametrize("user", [OWNER, None], ids=["owner", "superuser"])
@pytest.mark.parametrize(
    "name", ["user_organizations is a view", "a function for texts", "user_organizations is a table of somebody"]
)
def test_name_that_is_taken_between_two_steps_is_not_used(
    name: str, templates: Templates, server: Server, user: str | None
) -> None:
    """A name of ours that somebody takes while the online mode is at work is not adopted; the next run names it.

    The first step tells everybody who looks which names will come.
    """
    [attack] = [each for each in ATTACKS if each.name == name]
    late = Attack(attack.name, attack.surface, attack.who, "SELECT 1", None)
    with attacked(templates, server, "founding-tiny", late) as database, Proxy(server) as proxy:
        [(role,)] = database.query("SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'phase1_loner_%'")
        commits: list[Statement] = []

        def between(statement: Statement) -> None:
            if statement.sql == "COMMIT;":
                commits.append(statement)
                if len(commits) == 3:
                    with database.connect() as session:
                        session.execute(f"SET SESSION AUTHORIZATION {role}".encode())
                        session.execute(attack.planted.encode())

        proxy.after(between)
        ended = run("--dsn", proxy.dsn(database.name, user), "--json", "--force", "--online")
        proxy.after(None)
        assert len(commits) >= 3, "nothing was planted"
        assert RAN not in ended.out + ended.err
        # Its own function is created beside the overload, and the checks at the end name that.
        assert ended.status == (VIOLATIONS if "function" in name else STOPPED), ended.out
        assert names_it(run("--dsn", database.dsn(user), "--json", "--force", "--online"), attack, REFUSED)


def test_function_of_the_owner_does_not_run_with_the_rights_of_a_superuser(
    templates: Templates, server: Server
) -> None:
    """A superuser who verifies runs no function of the owner of the tables, and is told where one is in the way.

    The owner may do as it likes in its own tables, and is no superuser for that.
    """
    database = templates.clone("founding-tiny-migrated")
    try:
        database.execute(
            "CREATE OR REPLACE FUNCTION public.validate_client_data_integrity() RETURNS jsonb LANGUAGE plpgsql STABLE"
            f" SET search_path = '' SET row_security = off AS $$BEGIN RAISE EXCEPTION '{RAN}'; END$$"
        )
        for user in (OWNER, None):
            ended = run("--dsn", database.dsn(user), "--json", "--verify")
            assert RAN not in ended.out + ended.err, f"the owner's function: {RAN}"
            assert ended.status == VIOLATIONS
            [found] = ended.of("functions_are_hardened")
            assert "is not what the migration creates" in found["problem"]
            assert ended.json["report"]["integrity"]["status"] == "passed"
        database.execute(f"SET ROLE {OWNER}; {FUNCTIONS} CREATE INDEX ON public.uploads (id) WHERE public.planted(1)")
        ended = run("--dsn", database.dsn(), "--json", "--verify")
        assert RAN not in ended.out + ended.err, f"the owner's index: {RAN}"
        assert ended.status == VIOLATIONS
        [found] = ended.of("nothing_foreign_hangs_on_tables")
        assert found["action"] == "run it as the owner of the tables, not as a superuser"
    finally:
        database.drop()


def test_runs_of_everybody_are_let_through(templates: Templates, server: Server) -> None:
    """Triggers, checks and indexes with functions of the owner's own, or of a superuser's, stop no run of the owner.

    Real applications are full of them.
    """
    database = templates.clone("founding-tiny")
    mine = FUNCTIONS.replace(RAN, "never").replace("'phase_1'", "'nobody'")
    try:
        database.execute(
            f"SET ROLE {OWNER}; {mine} RESET ROLE;"
            "CREATE FUNCTION public.of_a_superuser(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT TRUE';"
            "ALTER TABLE public.uploads ADD CHECK (public.planted(filename)),"
            " ADD CHECK (public.of_a_superuser(filename)), ADD client_id uuid;"
            "CREATE INDEX ON public.uploads (public.planted_text(filename)) WHERE public.planted(1);"
            "CREATE TRIGGER stamped BEFORE UPDATE ON public.uploads"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()"
        )
        for command in ("--dry-run", "--force", "--verify"):
            ended = run("--dsn", database.owner_dsn, "--json", command)
            assert ended.status == DONE, ended.out + ended.err
        assert run("--dsn", database.owner_dsn, "--json", "--rollback", "--force").status == DONE
    finally:
        database.drop()


def test_versions_of_the_attacks_are_read_as_conditions() -> None:
    """Each version that an attack needs is a condition that the marker knows, and that some version meets.

    One that is misspelt would be skipped everywhere.
    """
    assert all(any(version_matches(int(major), each.pg) for major in MAJORS) for each in ATTACKS if each.pg)


@pytest.mark.parametrize("attack", [each for each in FIRST if each.refused_by], ids=lambda each: each.id)
def test_finding_is_gone_once_its_advice_is_taken(attack: Attack, templates: Templates, server: Server) -> None:
    """Each finding proposes a statement, and after it the check finds nothing any more.

    Advice that does not help leaves a DBA with a refusal, and with --force to try next.
    """
    with attacked(templates, server, "founding-tiny", attack) as database:
        found = run("--dsn", database.owner_dsn, "--json", "--dry-run").of(str(attack.refused_by))
        for finding in found:
            [*_, statement] = re.findall(r"(?:ALTER|DROP|REVOKE) [A-Z]+.*?(?=$|; or )", finding["action"])
            if "OWNER TO" in statement:
                # Who takes a table over has looked at what hangs on it, and dropped what was planted.
                database.execute(HARMLESS)
            database.execute(statement)
        assert run("--dsn", database.owner_dsn, "--json", "--dry-run").of(str(attack.refused_by)) == []


def test_table_that_refers_to_the_organizations_is_not_read_by_the_rollback(
    templates: Templates, server: Server
) -> None:
    """A table of another role that refers to adopted organizations stops the rollback, and is not read by it.

    The rollback asks whether rows refer to the organization that it deletes: with what hangs on that table.
    """
    who = Attack("refers", "foreign keys", "loner", "SELECT 1", "tables_belong_to_who_owns_users")
    [adopted] = {
        each.prepared for each in ATTACKS if each.name == "adopted organizations has a rule with a function of a helper"
    }
    prepared = adopted.partition("RESET ROLE;")[0] + "GRANT REFERENCES ON public.organizations TO {role}"
    with attacked(templates, server, "founding-tiny", replace(who, prepared=prepared)) as database:
        [(role,)] = database.query("SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'phase1_loner_%'")
        assert run("--dsn", database.owner_dsn, "--force").status == DONE
        with database.connect() as session:
            session.execute(f"SET SESSION AUTHORIZATION {role}".encode())
            session.execute(
                "CREATE TABLE public.mine (id uuid REFERENCES public.organizations);"
                " GRANT SELECT ON public.mine TO PUBLIC;"
                " CREATE INDEX ON public.mine (id) WHERE public.planted(1)"
            )
        for user in (OWNER, None):
            for command in ("--dry-run", "--force"):
                assert names_it(run("--dsn", database.dsn(user), "--json", "--rollback", command), who, REFUSED)


@pytest.mark.parametrize("user", [OWNER, None], ids=["owner", "superuser"])
@pytest.mark.parametrize("how", ["renamed", "created"])
@pytest.mark.parametrize(
    "moment",
    ["has_table_privilege(c.oid, 'SELECT') ORDER BY", "AS names (name)"],
    ids=["before the lock", "after the look"],
)
def test_name_that_is_taken_after_the_look_is_not_read(
    templates: Templates, server: Server, moment: str, how: str, user: str | None
) -> None:
    """A view that gets the name of the memberships while a run looks at the catalog is not read by that run.

    It takes one statement, and everybody sees in pg_locks when to give it.
    """
    view = next(each for each in ATTACKS if each.name == "user_organizations is a view")
    [adopted] = {each.prepared for each in ATTACKS if each.name == "policies of adopted organizations"}
    innocent = view.planted.replace("user_organizations", "innocent") if how == "renamed" else "SELECT 1"
    attack = replace(view, planted=innocent, prepared=adopted.partition("RESET ROLE;")[0])
    with attacked(templates, server, "founding-tiny", attack) as database, Proxy(server) as proxy:
        [(role,)] = database.query("SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'phase1_loner_%'")
        taken: list[Statement] = []

        def between(statement: Statement) -> None:
            if moment in statement.sql and not taken:
                taken.append(statement)
                with database.connect() as session:
                    session.execute(f"SET SESSION AUTHORIZATION {role}".encode())
                    renaming = "ALTER VIEW public.innocent RENAME TO user_organizations"
                    session.execute((renaming if how == "renamed" else view.planted).encode())

        proxy.after(between)
        ended = run("--dsn", proxy.dsn(database.name, user), "--json", "--verify")
        proxy.after(None)
        assert taken, "no name was taken"
        assert RAN not in ended.out + ended.err, f"after the look: {RAN}"
        assert names_it(run("--dsn", database.dsn(user), "--json", "--verify"), view, VIOLATIONS)


@pytest.mark.pg(">=16")
def test_membership_that_gives_nothing_is_not_trusted(templates: Templates, server: Server) -> None:
    """A role that is a member of the owner without its rights, and cannot become it either, is not taken for it.

    Since PostgreSQL 16 a membership may give neither, and is still called one.
    """
    [attack] = [each for each in ATTACKS if each.name == "migration_log says what was never done"]
    prepared = f"GRANT {OWNER} TO {{role}} WITH INHERIT FALSE, SET FALSE, ADMIN FALSE"
    with attacked(templates, server, "founding-tiny", replace(attack, prepared=prepared)) as database:
        assert names_it(run("--dsn", database.owner_dsn, "--json", "--dry-run"), attack, REFUSED)
    with attacked(
        templates, server, "founding-tiny", replace(attack, prepared=f"GRANT {OWNER} TO {{role}}")
    ) as database:
        assert run("--dsn", database.owner_dsn, "--json", "--dry-run").of(str(attack.refused_by)) == []


def test_session_that_can_become_a_superuser_is_treated_as_one(templates: Templates, server: Server) -> None:
    """Who logs in as a member of a superuser, and begins the session as that, runs no code of the owner.

    What runs with the rights of a superuser does not ask who has logged in.
    """
    database = templates.clone("founding-tiny")
    login = f"phase1_dba_{secrets.token_hex(3)}"
    try:
        database.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{login}'; GRANT \"{server.user}\" TO {login}")
        database.execute(f"SET ROLE {OWNER}; {FUNCTIONS} CREATE INDEX ON public.uploads (id) WHERE public.planted(1)")
        dsn = make_conninfo(database.dsn(), user=login, password=login, options=f"-c role={server.user}")
        ended = run("--dsn", dsn, "--json", "--dry-run")
        assert RAN not in ended.out + ended.err
        assert (ended.status, len(ended.of("nothing_foreign_hangs_on_tables"))) == (REFUSED, 1), ended.out
    finally:
        database.drop()
        with server.connect(server.database) as superuser:
            superuser.execute(f"DROP ROLE {login}".encode())
