"""The application that every other test migrates is what it says it is.

A loader that is not repeatable, or a statement that touches nothing, would make the claims built on
them true of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from phase_1.inventory import TABLES
from tests.application.load import NEWER_PRIVILEGES, ROLES, VARIANTS, Rows, create, load
from tests.application.statements import BREAKING, OLD_STATEMENTS, NoRowTouchedError, Statement, run

if TYPE_CHECKING:
    from tests.plugins.server import Server

Connect = Callable[..., psycopg.Connection[Any]]

#: A user that the default load makes: the first of seed 1.
FIRST_USER = "(SELECT md5('1:user:1')::uuid)"


@pytest.fixture
def empty(server: Server) -> Iterator[Callable[[], Connect]]:
    """Make an empty database at each call; what that returns opens connections to it, and to no other."""
    with ExitStack() as stack:
        administrator = stack.enter_context(server.connect("postgres"))
        administrator.execute(ROLES.read_bytes())
        names = (f"application_{administrator.info.backend_pid}_{number}" for number in range(1, 100))

        def make() -> Connect:
            name = next(names)
            administrator.execute(f"CREATE DATABASE {name}")
            stack.callback(administrator.execute, f"DROP DATABASE {name}")

            def connect(**options: Any) -> psycopg.Connection[Any]:
                return stack.enter_context(server.connect(name, **options))

            return connect

        yield make


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """Each of the two applications."""
    return str(request.param)


@pytest.fixture
def made(empty: Callable[[], Connect], variant: str) -> Callable[[], Connect]:
    """Make a database at each call, with the tables of the variant and no rows."""

    def make() -> Connect:
        connect = empty()
        create(connect(), variant)
        return connect

    return make


def checksums(connection: psycopg.Connection[Any]) -> dict[str, str | None]:
    """Hash the rows of each tenant table, whatever their order; None where there is no row."""
    return {
        table.name: connection.execute(
            f"SELECT md5(string_agg(r::text, E'\\n' ORDER BY r::text COLLATE \"C\")) FROM public.{table.name} AS r"
        ).fetchall()[0][0]
        for table in TABLES
    }


def value(connection: psycopg.Connection[Any], query: str) -> Any:
    """Return the one value of a query with one row and one column."""
    ((only,),) = connection.execute(query).fetchall()
    return only


def test_load_gives_equal_rows_for_an_equal_seed(made: Callable[[], Connect], variant: str) -> None:
    """Two databases loaded with the same seed hold the same rows.

    Otherwise “the rows are as they were” could not be told from “the rows are other ones”.
    """
    first, second = made()(), made()()
    assert load(first, variant, seed=11) == load(second, variant, seed=11)
    assert checksums(first) == checksums(second)
    assert None not in checksums(first).values()


def test_load_gives_other_rows_for_another_seed(made: Callable[[], Connect], variant: str) -> None:
    """Another seed changes every table, so the checksum of the test above looks at the rows."""
    first, second = made()(), made()()
    load(first, variant, seed=11)
    load(second, variant, seed=12)
    assert all(checksums(first)[table] != checksums(second)[table] for table in checksums(first))


def test_load_by_the_owner_equals_the_load_by_a_superuser(made: Callable[[], Connect], variant: str) -> None:
    """A load with triggers and foreign keys gives the same rows as the fast one without.

    Otherwise the fast one would make a database that the application could never have made.
    """
    fast, slow = made()(), made()
    load(fast, variant, sales=2000)
    load(slow(user="app_owner"), variant, sales=2000)
    assert checksums(fast) == checksums(slow())


def test_load_makes_the_rows_it_reports(made: Callable[[], Connect], variant: str) -> None:
    """Every count may be given, none included, and is what is there afterwards."""
    connection = made()()
    rows = load(connection, variant, sales=301, users=7, uploads=0, products=13, processing_logs=1, email_logs=3)
    assert rows == Rows(7, 0, 13, 301, 1, 0, 3)
    assert asdict(rows) == {name: value(connection, f"SELECT count(*) FROM public.{name}") for name in asdict(rows)}


def test_second_load_with_another_seed_adds_its_rows(made: Callable[[], Connect], variant: str) -> None:
    """A database can grow: nothing of the second load collides with the first."""
    connection = made()()
    assert load(connection, variant, seed=1).total + load(connection, variant, seed=2).total == sum(
        value(connection, f"SELECT count(*) FROM public.{table.name}") for table in TABLES
    )


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(condition, id=name)
        for name, condition in {
            "resellers_are_missing": "count(*) FILTER (WHERE reseller IS NULL) BETWEEN 1000 AND 1500",
            "eans_are_missing": "count(*) FILTER (WHERE product_ean IS NULL) BETWEEN 400 AND 900",
            "uploads_are_missing": "count(*) FILTER (WHERE upload_id IS NULL) BETWEEN 400 AND 900",
            "years_are_eight": "count(DISTINCT year) = 8 AND min(year) = 2019 AND max(year) = 2026",
            "months_are_twelve": "count(DISTINCT month) = 12",
            "biggest_reseller_is_far_ahead": "count(*) FILTER (WHERE reseller = 'Bücher Müller')"
            " > 5 * count(*) FILTER (WHERE reseller = 'Żabka Nowa')",
            "names_leave_the_basic_plane": "count(*) FILTER (WHERE reseller LIKE '%📚%') > 0",
            "ids_follow_the_time": "corr(id, extract(epoch FROM created_at)::float8) > 0.99",
        }.items()
    ],
)
def test_sales_are_spread_as_in_production(made: Callable[[], Connect], variant: str, condition: str) -> None:
    """Sales have the gaps, the skew and the order of real ones.

    On evenly spread rows without a NULL, a wrong index or a wrong comparison looks right.
    """
    connection = made()()
    load(connection, variant, sales=20_000)
    assert value(connection, f"SELECT {condition} FROM public.sellout_entries2")


def test_uploads_and_users_are_spread_as_in_production(made: Callable[[], Connect], variant: str) -> None:
    """Few uploads are at work, some have no user, some users have no upload."""
    connection = made()()
    load(connection, variant, sales=200_000, processing_logs=0, transform_logs=0, email_logs=0)
    at_work = "count(*) FILTER (WHERE status IN ('pending', 'processing')) * 100.0 / count(*)"
    assert 1 < value(connection, f"SELECT {at_work} FROM public.uploads") < 6
    assert value(connection, "SELECT count(DISTINCT status) FROM public.uploads") == 4
    assert value(connection, "SELECT count(*) FROM public.uploads WHERE user_id IS NULL") > 0
    assert value(
        connection,
        "SELECT count(*) FROM public.users AS u"
        " WHERE NOT EXISTS (SELECT FROM public.uploads AS up WHERE up.user_id = u.id)",
    )


def test_smallest_load_has_every_case(made: Callable[[], Connect], variant: str) -> None:
    """Already the load of a quick test has an upload at work, one without a user, and an idle user."""
    connection = made()()
    load(connection, variant, sales=1)
    statuses = value(connection, "SELECT array_agg(DISTINCT status ORDER BY status) FROM public.uploads")
    assert statuses == ["completed", "pending", "processing"]
    assert value(connection, "SELECT count(*) FROM public.uploads WHERE user_id IS NULL") == 1
    assert value(connection, "SELECT count(*) FROM public.users") == 5


def test_vacuum_is_refused_inside_a_transaction(made: Callable[[], Connect], variant: str) -> None:
    """VACUUM cannot run there, and the load says so before it has done anything."""
    connection = made()()
    with connection.transaction(), pytest.raises(ValueError, match="autocommit"):
        load(connection, variant, vacuum=True)
    load(connection, variant, vacuum=True)
    assert value(connection, "SELECT relallvisible > 0 FROM pg_class WHERE relname = 'sellout_entries2'")


def test_owner_has_no_power_beyond_its_tables(made: Callable[[], Connect]) -> None:
    """app_owner owns the seven tables, may create in public, and is nothing else.

    If it could do more, the promise that the migration needs no superuser would not be tested.
    """
    connection = made()(user="app_owner")
    assert connection.execute(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,"
        " (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)"
        " FROM pg_roles AS r WHERE rolname = current_user"
    ).fetchall() == [(False, False, False, False, False, 0)]
    assert value(
        connection,
        "SELECT has_schema_privilege('public', 'CREATE') AND NOT has_database_privilege(current_database(), 'CREATE')",
    )
    owned = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relowner = current_user::regrole"
    ).fetchall()
    assert {name for (name,) in owned} == {table.name for table in TABLES}


def test_roles_are_made_once(empty: Callable[[], Connect]) -> None:
    """Running roles.sql in a cluster that has the roles changes nothing and raises nothing."""
    connection = empty()()
    roles = "SELECT array_agg(r::text ORDER BY rolname) FROM pg_roles AS r"
    connection.execute(ROLES.read_bytes())
    before = value(connection, roles)
    connection.execute(ROLES.read_bytes())
    assert value(connection, roles) == before


@pytest.mark.parametrize("user", [None, "app_owner"], ids=["user=superuser", "user=app_owner"])
def test_old_statements_run_before_the_migration(made: Callable[[], Connect], variant: str, user: str | None) -> None:
    """Every statement of the old application runs, twice, and touches a row each time.

    One that failed already here would not show that the migration spares it.
    """
    connect = made()
    load(connect(), variant)
    connection = connect(user=user)
    failed: dict[str, str] = {}
    for statement in OLD_STATEMENTS[variant]:
        with connection.transaction(force_rollback=True):
            try:
                for _ in range(2):
                    rows = run(connection, statement)
                    assert bool(rows) == statement.returns_rows
            except (psycopg.Error, AssertionError) as error:
                failed[statement.name] = str(error)
    assert failed == {}
    assert len({statement.name for statement in OLD_STATEMENTS[variant]}) == len(OLD_STATEMENTS[variant])


def test_old_statements_run_one_after_another(made: Callable[[], Connect], variant: str) -> None:
    """In the order of the list and in the reverse, each finds what it needs in what the others left."""
    connection = made()()
    load(connection, variant)
    for statements in (OLD_STATEMENTS[variant], OLD_STATEMENTS[variant][::-1]):
        with connection.transaction(force_rollback=True):
            for statement in statements:
                run(connection, statement)


def test_statement_that_touches_no_row_raises(made: Callable[[], Connect]) -> None:
    """A statement on an empty table is not taken for one that ran."""
    connection = made()()
    with pytest.raises(NoRowTouchedError):
        run(connection, Statement("nothing", "DELETE FROM public.email_logs"))
    with pytest.raises(NoRowTouchedError):
        run(connection, Statement("nothing", "COPY public.email_logs (recipient) FROM STDIN", copy_rows=()))


def test_breaking_statements_break_by_a_new_column_only(made: Callable[[], Connect], variant: str) -> None:
    """What is listed as breaking works before, and fails with its SQLSTATE once there is a column more."""
    connection = made()()
    load(connection, variant)
    for each in BREAKING:
        for query in each.setup:
            connection.execute(query)
    for each in BREAKING:
        with connection.transaction(force_rollback=True):
            connection.execute(f"SET LOCAL ROLE {each.role or 'NONE'}")
            if each.after_only:
                with pytest.raises(psycopg.errors.UndefinedColumn):
                    run(connection, each.statement)
            else:
                run(connection, each.statement)
    for table in TABLES:
        connection.execute(
            f"ALTER TABLE public.{table.name} ADD COLUMN client_id uuid NOT NULL DEFAULT md5('client')::uuid"
        )
    # A trigger function goes on with the columns that it has seen in this session.
    connection.execute("DISCARD PLANS")
    for each in (each for each in BREAKING if not each.by_memberships):
        connection.execute(f"SET ROLE {each.role or 'NONE'}")
        with pytest.raises(psycopg.Error) as caught:
            run(connection, each.statement)
        assert (each.statement.name, caught.value.sqlstate) == (each.statement.name, each.sqlstate)


@pytest.mark.parametrize("variant", ["deployed"], ids=["variant=deployed"])
def test_trigger_leaves_a_trace_in_every_updated_sale(made: Callable[[], Connect], variant: str) -> None:
    """A sale that is updated gets a new revision: a migration that rewrites rows cannot hide it."""
    connection = made()()
    load(connection, variant)
    assert value(connection, "SELECT count(*) FROM public.sellout_entries2 WHERE revision <> 1") == 0
    connection.execute("UPDATE public.sellout_entries2 SET year = year WHERE id <= 10")
    assert value(connection, "SELECT count(*) FROM public.sellout_entries2 WHERE revision <> 1") == 10


@pytest.mark.parametrize("variant", ["deployed"], ids=["variant=deployed"])
def test_signed_in_user_writes_sales_and_a_visitor_does_not(made: Callable[[], Connect], variant: str) -> None:
    """The policies let a signed-in user work: an attack that fails later is not failing for want of them."""
    connect = made()
    load(connect(), variant)
    connection = connect(user="authenticator")
    sale = "INSERT INTO public.sellout_entries2 (year, month, quantity) VALUES (2026, 1, 1) RETURNING id"
    subject = value(connect(), FIRST_USER)
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL ROLE authenticated")
        connection.execute("SELECT set_config('request.jwt.claim.sub', %s, true)", [str(subject)])
        identity = value(connection, sale)
        for write in (
            "UPDATE public.sellout_entries2 SET quantity = 2",
            "DELETE FROM public.sellout_entries2",
        ):
            assert connection.execute(f"{write} WHERE id = {identity}").rowcount == 1
        assert (
            connection.execute(
                "INSERT INTO public.uploads (user_id, filename) VALUES (auth.uid(), 'mine.csv')"
            ).rowcount
            == 1
        )
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL ROLE anon")
        assert value(connection, "SELECT count(*) FROM public.users") == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sale)


@pytest.mark.parametrize("variant", ["deployed"], ids=["variant=deployed"])
@pytest.mark.parametrize("newer", [False, True], ids=["privileges=older", "privileges=newer"])
def test_new_table_is_open_to_the_web_api(made: Callable[[], Connect], variant: str, newer: bool) -> None:
    """By default a visitor may do everything with a new table; on newer projects he may still empty it.

    The migration has to close what is open, so open it must be.
    """
    connect = made()
    if newer:
        connect().execute(NEWER_PRIVILEGES.read_bytes())
    connection = connect(user="app_owner")
    connection.execute("CREATE TABLE public.fresh (id integer)")
    granted = {
        (role, privilege)
        for role in ("anon", "authenticated", "service_role")
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
        if value(connection, f"SELECT has_table_privilege('{role}', 'public.fresh', '{privilege}')")
    }
    assert {privilege for _, privilege in granted} == (
        {"TRUNCATE", "REFERENCES", "TRIGGER"}
        if newer
        else {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}
    )
    assert {role for role, _ in granted} == {"anon", "authenticated", "service_role"}
