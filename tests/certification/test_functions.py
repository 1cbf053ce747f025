"""What the three functions answer, case by case, and against a model of what was promised."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from phase_1.fingerprint import difference
from phase_1.inventory import CHILDREN, DEFAULT_ORGANIZATION, DEFAULT_SLUG, TABLES
from phase_1.problems import DONE, VIOLATIONS
from tests.plugins.database import Database, Templates
from tests.support.looking import catalog
from tests.support.model import Membership, Model, Organization
from tests.support.model import Row as ModelRow
from tests.support.runner import run

Connection = psycopg.Connection[tuple[Any, ...]]
Evidence = Callable[[str, Any], None]

USER = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
ACME, BERG, CORD = (f"{number}0000000-0000-4000-8000-00000000000{number}" for number in (2, 3, 4))
UNKNOWN = "ffffffff-ffff-4fff-8fff-ffffffffffff"  # an id that nobody has
NAMES = {"default": DEFAULT_ORGANIZATION, "acme": ACME, "berg": BERG, "cord": CORD}
IDS = {organization: name for name, organization in NAMES.items()}

_FIRST_DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)
TABLE_NAMES = tuple(table.name for table in TABLES)


@dataclass(frozen=True)
class In:
    """A membership: in which organization, since which day (None: NULL), the rank of its id, active or not.

    Without a rank the ids are in the order of the memberships.
    """

    organization: str
    day: int | None = 1
    rank: int | None = None
    active: bool | None = True


@dataclass(frozen=True)
class Case:
    """A user, and what the two functions have to say about that user."""

    fact: str
    client: str | None
    memberships: tuple[In, ...]
    belongs_to: str | None
    may_see: tuple[str, ...]
    #: Organizations whose ``is_active`` is not true.
    closed: tuple[tuple[str, bool | None], ...] = ()


CASES = (
    Case("client among memberships", "acme", (In("berg", 1), In("acme", 2)), "acme", ("acme", "berg")),
    Case("client is the only membership", "acme", (In("acme"),), "acme", ("acme",)),
    Case("client among memberships, and the newest", "cord", (In("acme", 1), In("berg", 2), In("cord", 3)), "cord",
         ("acme", "berg", "cord")),
    Case("client not among memberships: the oldest", "default", (In("berg", 2), In("acme", 1)), "acme",
         ("acme", "berg")),
    Case("client not among memberships, only one", "default", (In("berg"),), "berg", ("berg",)),
    Case("memberships of the same age: the lowest id", "default",
         (In("acme", 1, 9), In("berg", 1, 3), In("cord", 1, 5)), "berg", ("acme", "berg", "cord")),
    Case("age before id", "default", (In("acme", 2, 1), In("berg", 1, 2)), "berg", ("acme", "berg")),
    Case("membership without a time comes last", "default", (In("acme", None, 1), In("berg", 9, 2)), "berg",
         ("acme", "berg")),
    Case("memberships without a time: the lowest id", "default", (In("acme", None, 2), In("berg", None, 1)), "berg",
         ("acme", "berg")),
    Case("membership without a time, only one", "default", (In("acme", None),), "acme", ("acme",)),
    Case("membership in the client inactive", "acme", (In("acme", 1, active=False), In("berg", 2)), "berg", ("berg",)),
    Case("membership in the client inactive by NULL", "acme", (In("acme", 1, active=None), In("berg", 2)), "berg",
         ("berg",)),
    Case("oldest membership inactive", "default", (In("acme", 1, active=False), In("berg", 3), In("cord", 2)), "cord",
         ("berg", "cord")),
    Case("client inactive", "acme", (In("acme", 1), In("berg", 2)), "berg", ("berg",), (("acme", False),)),
    Case("client inactive by NULL", "acme", (In("acme", 1), In("berg", 2)), "berg", ("berg",), (("acme", None),)),
    Case("oldest organization inactive", "default", (In("acme", 1), In("berg", 2)), "berg", ("berg",),
         (("acme", False),)),
    Case("all memberships inactive", "acme", (In("acme", 1, active=False), In("berg", 2, active=None)), None, ()),
    Case("all organizations inactive", "acme", (In("acme"), In("berg", 2)), None, (),
         (("acme", False), ("berg", None))),
    Case("active membership in an inactive one, inactive in an active one", "acme",
         (In("acme", 1), In("berg", 2, active=False)), None, (), (("acme", False),)),
    Case("inactive membership elsewhere does not fall back to the client", "default", (In("acme", 1, active=False),),
         None, ()),
    Case("no membership: the client", "acme", (), "acme", ("acme",)),
    Case("no membership: the default organization", "default", (), "default", ("default",)),
    Case("no membership, client inactive", "acme", (), None, (), (("acme", False),)),
    Case("no membership, client inactive by NULL", "acme", (), None, (), (("acme", None),)),
    Case("no membership, no client", None, (), None, ()),
    Case("no client, memberships", None, (In("berg", 2), In("acme", 1)), "acme", ("acme", "berg")),
)  # fmt: skip


@pytest.fixture
def world(templates: Templates, variant: str) -> Iterator[Database]:
    """A migrated database without a row, but for four organizations."""
    database = templates.clone(f"{variant}-empty-migrated")
    with database.connect() as superuser:
        _add_organizations(superuser)
    yield database
    database.drop()


def _add_organizations(connection: Connection) -> None:
    for name, organization in NAMES.items():
        connection.execute(
            "INSERT INTO public.organizations (id, name, slug) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING",
            [organization, name.title(), name],
        )


def _add_user(connection: Connection, variant: str, user: str, client: str | None) -> None:
    email = f"{user}@example.com"
    if variant == "deployed":
        # The application's trigger makes the profile.
        connection.execute("INSERT INTO auth.users (id, email) VALUES (%s, %s)", [user, email])
        connection.execute("UPDATE public.users SET client_id = %s WHERE id = %s", [client, user])
    else:
        connection.execute("INSERT INTO public.users (id, email, client_id) VALUES (%s, %s, %s)", [user, email, client])


def _build(connection: Connection, variant: str, case: Case) -> None:
    if case.client is None:
        connection.execute("ALTER TABLE public.users ALTER COLUMN client_id DROP NOT NULL")
    _add_user(connection, variant, USER, NAMES[case.client] if case.client else None)
    for number, each in enumerate(case.memberships, start=1):
        connection.execute(
            "INSERT INTO public.user_organizations (id, user_id, organization_id, is_active, created_at)"
            " VALUES (%s, %s, %s, %s, %s)",
            [
                f"00000000-0000-4000-8000-{each.rank or number:012d}",
                USER,
                NAMES[each.organization],
                each.active,
                None if each.day is None else _FIRST_DAY + timedelta(days=each.day),
            ],
        )
    for organization, active in case.closed:
        connection.execute(
            "UPDATE public.organizations SET is_active = %s WHERE id = %s", [active, NAMES[organization]]
        )


def _organization_of(connection: Connection, user: str | None) -> str | None:
    [(organization,)] = connection.execute("SELECT public.get_user_organization_id(%s)", [user]).fetchall()
    return None if organization is None else str(organization)


def _may_see(connection: Connection, user: str | None, client: str | None) -> bool | None:
    [(answer,)] = connection.execute("SELECT public.validate_client_access(%s, %s)", [user, client]).fetchall()
    assert answer is None or isinstance(answer, bool)
    return answer


def _service(database: Database) -> Connection:
    """A session of the application's back end: who calls the functions in production."""
    connection = database.connect("authenticator")
    connection.execute("SET ROLE service_role")
    return connection


@pytest.mark.claim("organization-of-user", "client-access")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fact)
def test_user_belongs_and_has_access_by_active_memberships(world: Database, variant: str, case: Case) -> None:
    """The client if it is an active membership, else the oldest one, else none; access is to the active ones.

    The wrong organization shows a user the sales of somebody else's company; so does a yes too many, and a no
    too many locks a paying customer out.
    """
    with world.connect() as superuser:
        _build(superuser, variant, case)
    service = _service(world)
    organization = case.belongs_to and NAMES[case.belongs_to]
    assert _organization_of(service, USER) == organization, f"get_user_organization_id: {case.fact}"
    may_see = {name: _may_see(service, USER, client) for name, client in NAMES.items()}
    assert may_see == {name: name in case.may_see for name in NAMES}, f"validate_client_access: {case.fact}"


@pytest.mark.claim("organization-of-user", "client-access")
def test_functions_deny_what_nobody_knows(world: Database, variant: str) -> None:
    """An unknown user, an unknown client and NULL have no organization and no access, and access is never NULL.

    A NULL in a policy's condition or in an application's `if not …` counts as either, depending on who wrote it.
    """
    with world.connect() as superuser:
        _build(superuser, variant, Case("", "acme", (In("acme"), In("berg", 2)), "acme", ("acme", "berg")))
    service = _service(world)
    assert _may_see(service, USER, ACME) is True
    assert [_organization_of(service, user) for user in (UNKNOWN, ACME, None)] == [None, None, None]
    denied = [
        (UNKNOWN, ACME),
        (USER, UNKNOWN),
        (UNKNOWN, UNKNOWN),
        (None, ACME),
        (USER, None),
        (None, None),
        (ACME, USER),
    ]
    access = {pair: _may_see(service, *pair) for pair in denied}
    assert access == dict.fromkeys(denied, False), "validate_client_access"
    named = service.execute(
        "SELECT public.get_user_organization_id(user_id => %s),"
        " public.validate_client_access(user_id => %s, client_id => %s)",
        [USER, USER, BERG],
    ).fetchall()
    assert [(str(organization), access) for organization, access in named] == [(ACME, True)]


@pytest.mark.claim("organization-of-user", "client-access")
def test_user_of_the_old_application_has_the_default_organization_at_once(migrated: Database, variant: str) -> None:
    """A user whom the old application has just inserted belongs to the default organization, without a membership.

    Whoever signs up between Phase 1 and Phase 2 would otherwise be denied everything.
    """
    with migrated.connect() as superuser:
        if variant == "deployed":
            superuser.execute("INSERT INTO auth.users (id, email) VALUES (%s, 'new@example.com')", [USER])
        else:
            superuser.execute("INSERT INTO public.users (id, email) VALUES (%s, 'new@example.com')", [USER])
        memberships = "SELECT count(*) FROM public.user_organizations WHERE user_id = %s"
        assert superuser.execute(memberships, [USER]).fetchall() == [(0,)]
    service = _service(migrated)
    assert _organization_of(service, USER) == DEFAULT_ORGANIZATION
    assert _may_see(service, USER, DEFAULT_ORGANIZATION) is True


@pytest.mark.claim("organization-of-user", "client-access")
def test_functions_agree_with_the_model_on_any_membership(world: Database, variant: str, evidence: Evidence) -> None:
    """For random users, memberships and organizations both functions say what a model in Python says.

    A combination that nobody thought of in the table of cases is found by production otherwise.
    """
    chance = random.Random(20_260_311)  # noqa: S311 - repeatable on purpose
    active = [True, True, True, False, None]
    model = Model(variant, {table: {} for table in TABLE_NAMES}, forward=(), back=())
    with world.connect() as superuser, superuser.transaction():
        for organization in NAMES.values():
            state = model.organizations[organization] = Organization(IDS[organization], chance.choice(active))
            superuser.execute(
                "UPDATE public.organizations SET is_active = %s WHERE id = %s", [state.active, organization]
            )
        for number in range(60):
            user, client = f"{number:08x}-0000-4000-8000-000000000000", chance.choice(list(NAMES.values()))
            _add_user(superuser, variant, user, client)
            model.rows["users"][user] = ModelRow(None, client, "")
            for organization in chance.sample(list(NAMES.values()), chance.randrange(5)):
                membership = Membership(
                    chance.choice(active),
                    chance.choice([None, _FIRST_DAY, _FIRST_DAY, _FIRST_DAY + timedelta(days=1)]),
                    f"{chance.getrandbits(32):08x}-0000-4000-8000-000000000000",
                )
                model.memberships[user, organization] = membership
                superuser.execute(
                    "INSERT INTO public.user_organizations (id, user_id, organization_id, is_active, created_at)"
                    " VALUES (%s, %s, %s, %s, %s)",
                    [membership.id, user, organization, membership.active, membership.created_at],
                )
    owner = world.connect("app_owner")
    said = {
        str(user): (organization and str(organization), list(access))
        for user, organization, access in owner.execute(
            "SELECT u.id, public.get_user_organization_id(u.id),"
            " ARRAY(SELECT public.validate_client_access(u.id, c.id) FROM unnest(%s::uuid[]) AS c (id))"
            " FROM public.users AS u",
            [list(NAMES.values())],
        )
    }
    expected = {
        user: (model.organization_of(user), [model.may_access(user, each) for each in NAMES.values()])
        for user in model.rows["users"]
    }
    assert said == expected
    answers = {organization for organization, _ in expected.values()}
    assert len(answers) > 2, "the model was never asked anything hard"
    assert None in answers
    evidence("users compared with the model", len(expected))


# Integrity ---------------------------------------------------------------------------------------------

_WITH_UPLOAD = "(SELECT min(id::text) FROM public.{table} WHERE upload_id IN (SELECT id FROM public.uploads))"
_BOTH = ["without_client", "unknown_client"]


@dataclass(frozen=True)
class Change:
    """What somebody does to a migrated database, and what the check has to count: table, kind, rows."""

    fact: str
    statements: str
    counted: tuple[tuple[str, str, int], ...] = ()
    #: What the catalog guarantees no longer.
    unguaranteed: tuple[tuple[str, str], ...] = ()


def _moved(table: str) -> str:
    return f"UPDATE public.{table} SET client_id = '{ACME}' WHERE id::text = {_WITH_UPLOAD.format(table=table)}"


def _nowhere(fact: str, rows: int, after: str = "") -> Change:
    """So many products of a client that does not exist, and what has then no say in that."""
    return Change(
        fact,
        "ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey;"
        f"UPDATE public.products SET client_id = '{UNKNOWN}' WHERE id IN ("
        f"SELECT id FROM public.products ORDER BY id LIMIT {rows});" + after,
        (("products", "unknown_client", rows),),
        (("products", "unknown_client"),),
    )


_FIRST_USER = "(SELECT id FROM public.users ORDER BY id LIMIT 1)"
_ORPHAN = (
    # In the deployed application there is no such foreign key.
    "ALTER TABLE public.transform_logs DROP CONSTRAINT IF EXISTS transform_logs_upload_id_fkey;"
    "INSERT INTO public.transform_logs (upload_id, transformation, client_id)"
    f" VALUES ('{UNKNOWN}', 'ean', '{ACME}')"
)

CHANGES = (
    Change("nothing", "SELECT"),
    Change("a sale goes to another client than its upload", _moved("sellout_entries2"),
           (("sellout_entries2", "disagreeing", 1),)),
    Change("a processing log goes to another client than its upload", _moved("processing_logs"),
           (("processing_logs", "disagreeing", 1),)),
    Change("a transform log goes to another client than its upload", _moved("transform_logs"),
           (("transform_logs", "disagreeing", 1),)),
    Change("two sales and a log", f"UPDATE public.sellout_entries2 SET client_id = '{ACME}' WHERE id IN ("
           "SELECT id FROM public.sellout_entries2 WHERE upload_id IS NOT NULL ORDER BY id LIMIT 2);"
           + _moved("processing_logs"),
           (("sellout_entries2", "disagreeing", 2), ("processing_logs", "disagreeing", 1))),
    Change("a sale without an upload goes to another client",
           "INSERT INTO public.sellout_entries2 (year, month, quantity, client_id)"
           f" VALUES (2026, 1, 1, '{ACME}')"),
    Change("a log of an upload that is gone goes to another client", _ORPHAN),
    Change("an upload goes to another client with all that is its own",
           f"UPDATE public.uploads SET client_id = '{ACME}'; UPDATE public.sellout_entries2 SET client_id = '{ACME}';"
           f"UPDATE public.processing_logs SET client_id = '{ACME}';"
           f"UPDATE public.transform_logs SET client_id = '{ACME}'"),
    Change("products and mails go to another client",
           f"UPDATE public.products SET client_id = '{ACME}'; UPDATE public.email_logs SET client_id = '{ACME}'"),
    Change("a user goes to a client without a membership there",
           f"UPDATE public.users SET client_id = '{ACME}' WHERE id = {_FIRST_USER}", (("users", "disagreeing", 1),)),
    Change("a user goes to a client with a membership there",
           f"INSERT INTO public.user_organizations (user_id, organization_id) VALUES ({_FIRST_USER}, '{ACME}');"
           f"UPDATE public.users SET client_id = '{ACME}' WHERE id = {_FIRST_USER}"),
    Change("a user's membership in the client becomes inactive",
           f"UPDATE public.user_organizations SET is_active = FALSE WHERE user_id = {_FIRST_USER}"),
    Change("a user goes to a client and has no membership at all",
           f"DELETE FROM public.user_organizations WHERE user_id = {_FIRST_USER};"
           f"UPDATE public.users SET client_id = '{ACME}' WHERE id = {_FIRST_USER}"),
    Change("two mails lose their client", "ALTER TABLE public.email_logs ALTER COLUMN client_id DROP NOT NULL;"
           "UPDATE public.email_logs SET client_id = NULL WHERE id IN ("
           "SELECT id FROM public.email_logs ORDER BY id LIMIT 2)",
           (("email_logs", "without_client", 2),), (("email_logs", "without_client"),)),
    Change("NOT NULL is dropped, and no row makes use of it",
           "ALTER TABLE public.products ALTER COLUMN client_id DROP NOT NULL", (), (("products", "without_client"),)),
    _nowhere("three products point nowhere", 3),
    _nowhere("a product points nowhere behind a foreign key that was never validated", 1, after=
             "ALTER TABLE public.products ADD CONSTRAINT products_client_id_fkey FOREIGN KEY (client_id)"
             " REFERENCES public.organizations (id) ON DELETE RESTRICT NOT VALID"),
    # attic.client_id has the number that the other column has in products.
    _nowhere("a product points nowhere beside the foreign key of another column", 1, after=
             "ALTER TABLE public.products ADD COLUMN owner uuid REFERENCES public.organizations (id);"
             "DO $$ BEGIN EXECUTE (SELECT format('CREATE TABLE public.attic (%s, client_id uuid)', names) FROM ("
             "SELECT string_agg('c' || n || ' int', ', ') AS names FROM pg_attribute, generate_series(1, attnum - 1) n"
             " WHERE attrelid = 'public.products'::regclass AND attname = 'owner') AS others); END $$"),
    _nowhere("a product points nowhere behind a foreign key to another table", 1, after=
             f"CREATE TABLE public.attic AS SELECT id FROM public.organizations UNION SELECT '{UNKNOWN}';"
             "ALTER TABLE public.attic ADD PRIMARY KEY (id);"
             "ALTER TABLE public.products ADD FOREIGN KEY (client_id) REFERENCES public.attic (id)"),
    Change("a product without a client does not count as one that points nowhere",
           "ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey;"
           "ALTER TABLE public.products ALTER COLUMN client_id DROP NOT NULL;"
           "UPDATE public.products SET client_id = NULL WHERE id IN ("
           "SELECT id FROM public.products ORDER BY id LIMIT 1)",
           (("products", "without_client", 1),), (("products", "unknown_client"), ("products", "without_client"))),
)  # fmt: skip

_NEVER_VALIDATED = (
    Change("a product has no client behind a NOT NULL that was never validated",
           "ALTER TABLE public.products ALTER COLUMN client_id DROP NOT NULL;"
           "UPDATE public.products SET client_id = NULL WHERE id IN ("
           "SELECT id FROM public.products ORDER BY id LIMIT 1);"
           "ALTER TABLE public.products ADD CONSTRAINT never_validated NOT NULL client_id NOT VALID",
           (("products", "without_client", 1),), (("products", "without_client"),)),
    Change("the NOT NULL of another column was never validated",
           "ALTER TABLE public.products ADD COLUMN owner uuid, ADD CONSTRAINT later NOT NULL owner NOT VALID"),
)  # fmt: skip


def _integrity(connection: Connection) -> dict[str, Any]:
    [(result,)] = connection.execute("SELECT public.validate_client_data_integrity()").fetchall()
    assert isinstance(result, dict)
    return result


def _expected(change: Change) -> dict[str, Any]:
    tables = {table: {**dict.fromkeys((*_BOTH, "disagreeing"), 0), "guaranteed": list(_BOTH)} for table in TABLE_NAMES}
    for table, kind, rows in change.counted:
        tables[table][kind] = rows
    for table, kind in change.unguaranteed:
        guaranteed = tables[table]["guaranteed"]
        assert isinstance(guaranteed, list)
        guaranteed.remove(kind)
    violations = sum(rows for _, _, rows in change.counted)
    return {"status": "failed" if violations else "passed", "violations": violations, "tables": tables}


@pytest.mark.claim("data-integrity")
@pytest.mark.parametrize(
    "change",
    [
        *(pytest.param(change, id=change.fact) for change in CHANGES),
        *(pytest.param(change, id=change.fact, marks=pytest.mark.pg(">= 18")) for change in _NEVER_VALIDATED),
    ],
)
def test_integrity_counts_the_rows_whose_client_is_wrong(migrated: Database, variant: str, change: Change) -> None:
    """The check counts every row without a client, with an unknown one, or at odds with its parent, and no other.

    A violation that it misses is a sale that Phase 2 shows to a competitor; one that it makes up stops a release.
    """
    with migrated.connect() as superuser:
        _add_organizations(superuser)
        superuser.execute(change.statements.encode())
    what = f"validate_client_data_integrity: {change.fact}"
    assert _integrity(migrated.connect("app_owner")) == _expected(change), what
    if variant == "deployed":  # in the other one there is no back end that may read the tables
        assert _integrity(_service(migrated)) == _expected(change), "the answer depends on who asks"


@pytest.mark.claim("data-integrity")
def test_integrity_passes_again_once_the_rows_are_mended(migrated: Database) -> None:
    """What was counted is counted no longer once the row is back with its client.

    A check that stays red after the repair is one that people learn to ignore.
    """
    with migrated.connect() as superuser:
        _add_organizations(superuser)
        superuser.execute(_moved("sellout_entries2").encode())
        assert _integrity(superuser)["status"] == "failed"
        superuser.execute(
            "UPDATE public.sellout_entries2 SET client_id = %s WHERE client_id = %s", [DEFAULT_ORGANIZATION, ACME]
        )
        assert _integrity(superuser) == _expected(CHANGES[0])


@pytest.mark.claim("data-integrity")
def test_integrity_counts_what_the_model_counts(migrated: Database, variant: str, evidence: Evidence) -> None:
    """After rows of every table were given to clients at random, the check counts what a model in Python counts.

    A join that counts a row twice, or drops one, is seen only where many rows are wrong at once.
    """
    chance = random.Random(20_260_312)  # noqa: S311 - repeatable on purpose
    parents = {child: column for child, column, _ in CHILDREN}
    rows: dict[str, dict[str, ModelRow]] = {}
    model = Model(variant, rows, forward=(), back=())
    with migrated.connect() as superuser, superuser.transaction():
        _add_organizations(superuser)
        for table in TABLE_NAMES:
            parent = parents.get(table, "NULL")
            keys = superuser.execute(f"SELECT id::text, {parent}::text FROM public.{table} ORDER BY 1".encode())
            rows[table] = {
                key: ModelRow(its_parent, chance.choice([DEFAULT_ORGANIZATION, DEFAULT_ORGANIZATION, ACME, BERG]), "")
                for key, its_parent in keys.fetchall()
            }
            superuser.execute(
                f"UPDATE public.{table} AS t SET client_id = given.client"
                " FROM unnest(%s::text[], %s::uuid[]) AS given (id, client) WHERE t.id::text = given.id".encode(),
                [list(rows[table]), [row.client for row in rows[table].values()]],
            )
        superuser.execute(
            "DELETE FROM public.user_organizations WHERE user_id::text = ANY (%s)",
            [without := sorted(rows["users"])[::3]],
        )
    model.organizations = {organization: Organization(name) for name, organization in NAMES.items()}
    model.organizations[DEFAULT_ORGANIZATION].slug = DEFAULT_SLUG
    model.memberships = {(user, DEFAULT_ORGANIZATION): Membership() for user in rows["users"] if user not in without}
    counted = model.integrity().disagreeing
    found = _integrity(migrated.connect("app_owner"))
    assert {table: each["disagreeing"] for table, each in found["tables"].items()} == counted
    assert found["violations"] == sum(counted.values())
    assert found["status"] == "failed"
    assert all(counted[table] for table in ("users", *parents)), "too little was wrong to show anything"
    evidence("rows that disagree, as the model and the check count them", counted)


@pytest.mark.claim("data-integrity")
def test_integrity_checks_the_tables_that_were_migrated(database: Database) -> None:
    """A table that was left out on purpose is not in the report, and its children are not compared with it.

    A check that stumbles over a column that was never added says nothing of the tables that have one.
    """
    ran = run("--dsn", database.owner_dsn, "--force", "--skip-table", "uploads", "--skip-table", "email_logs")
    assert ran.status == DONE, ran.err
    found = _integrity(database.connect("app_owner"))
    assert (found["status"], sorted(found["tables"])) == (
        "passed",
        sorted(set(TABLE_NAMES) - {"uploads", "email_logs"}),
    )


def _privileges_on_integrity(database: Database) -> set[tuple[Any, ...]]:
    return set(
        database.query(
            "SELECT acl.grantee, acl.privilege_type, p.proowner FROM pg_proc AS p, aclexplode(p.proacl) AS acl"
            " WHERE p.oid = 'public.validate_client_data_integrity()'::regprocedure"
        )
    )


@pytest.mark.claim("data-integrity", "verify-finds-violations")
@pytest.mark.parametrize("mode", [[], ["--online"]], ids=["transactional", "online"])
def test_integrity_looks_at_tables_that_are_migrated_later(database: Database, mode: list[str]) -> None:
    """A table that is migrated by a second run is looked at too, as a child and as a parent, by every role as before.

    A release is certified as sound while the sales in its largest table belong to somebody else.
    """

    def migrate(*skipped: str) -> str:
        leaving_out = [each for name in skipped for each in ("--skip-table", name)]
        granted_to = ("--grant-execute-to", "authenticator")
        ran = run("--dsn", database.owner_dsn, "--force", *mode, *granted_to, *leaving_out)
        assert ran.status == DONE, ran.err
        return ran.out

    before = catalog(database)
    migrate("sellout_entries2", "email_logs")
    granted = "GRANT EXECUTE ON FUNCTION public.validate_client_data_integrity() TO authenticator"
    database.execute(granted)
    privileges = _privileges_on_integrity(database)
    # What an earlier run has migrated is still looked at where this one leaves it out.
    migrate("uploads", "email_logs")
    assert set(_integrity(database.connect("app_owner"))["tables"]) == set(TABLE_NAMES) - {"email_logs"}
    assert "Nothing to do" in migrate("email_logs")
    migrate()
    assert "Nothing to do" in migrate()
    assert "Nothing to do" in migrate("sellout_entries2")
    assert _privileges_on_integrity(database) == privileges
    with database.connect() as superuser:
        _add_organizations(superuser)
        superuser.execute(_moved("sellout_entries2").encode())
    found = _integrity(database.connect("app_owner"))
    assert (found["status"], set(found["tables"])) == ("failed", set(TABLE_NAMES))
    assert found["tables"]["sellout_entries2"]["disagreeing"] > 0
    assert run("--dsn", database.owner_dsn, "--verify").status == VIOLATIONS
    assert run("--dsn", database.owner_dsn, "--rollback", "--force", *mode).status == DONE
    assert difference(before, catalog(database)) == []
