"""The application that has never heard of clients: what it says goes on working, and what does not is known."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.application.statements import BREAKING, OLD_STATEMENTS, Breaking, Statement
from tests.application.statements import run as say
from tests.plugins.database import OWNER, Database, Templates
from tests.support.runner import run
from tests.support.ways import MODES

Outcome = tuple[int, list[tuple[Any, ...]]]


def _outcome(connection: psycopg.Connection[Any], statement: Statement) -> int:
    """Says a statement in a transaction that is undone; how many rows came back."""
    try:
        return len(say(connection, statement))
    finally:
        connection.rollback()


def _outcomes(database: Database) -> dict[str, int]:
    """What each statement of the old application does; one that touches no row raises."""
    with database.connect(OWNER, autocommit=False) as connection:
        return {each.name: _outcome(connection, each) for each in OLD_STATEMENTS[database.variant]}


def _migrate(database: Database, *arguments: str) -> None:
    done = run("--dsn", database.owner_dsn, "--force", *arguments)
    assert done.status == 0, done.out + done.err


@pytest.mark.claim("old-application-works")
@MODES
def test_old_statements_do_the_same_before_after_and_after_the_rollback(database: Database, mode: list[str]) -> None:
    """Every statement of the old application touches and returns as many rows as before, at every stage.

    The application is not changed on that night; a statement that fails is an outage.
    """
    before = _outcomes(database)
    assert len(before) >= 30
    _migrate(database, *mode)
    assert _outcomes(database) == before
    _migrate(database, "--rollback", *mode)
    assert _outcomes(database) == before


@pytest.mark.claim("old-application-works")
def test_rows_of_the_old_application_get_the_default_organization(migrated: Database) -> None:
    """What the old application writes after the migration belongs to the default organization.

    A row without a client would be nobody's once the clients are kept apart.
    """
    with migrated.connect(OWNER) as connection:
        for statement in OLD_STATEMENTS[migrated.variant]:
            say(connection, statement)
    for table in (
        "users",
        "uploads",
        "products",
        "sellout_entries2",
        "processing_logs",
        "transform_logs",
        "email_logs",
    ):
        assert migrated.query(f"SELECT DISTINCT client_id::text FROM public.{table}") == [
            ("00000000-0000-4000-8000-000000000001",)
        ]
    with migrated.connect(OWNER) as connection:
        integrity = connection.execute("SELECT public.validate_client_data_integrity() ->> 'status'").fetchone()
    assert integrity == ("passed",)


@pytest.mark.claim("old-application-works")
@pytest.mark.parametrize("role", ["authenticated", "service_role"])
def test_web_api_reads_and_writes_as_before(templates: Templates, role: str) -> None:
    """A signed-in user's and the back end's sales are written and read as before, in the default organization.

    The policy that keeps writers to one client would lock the application's own users out.
    """
    database = templates.clone("deployed")
    insert = (
        "INSERT INTO public.sellout_entries2 (product_ean, reseller, year, month, quantity)"
        " VALUES ('4006381333931', 'Ørsted', 2026, 1, 1)"
    )

    def written() -> tuple[int, int]:
        with psycopg.connect(database.dsn("authenticator")) as connection:
            connection.execute(
                "SELECT set_config('request.jwt.claim.sub', '6f9619ff-8b86-4d11-b42d-00c04fc964ff', true)"
            )
            connection.execute(f"SET LOCAL ROLE {role}")
            inserted = connection.execute(insert).rowcount
            updated = connection.execute("UPDATE public.sellout_entries2 SET quantity = 2 WHERE reseller = 'Ørsted'")
            connection.rollback()
        return inserted, updated.rowcount

    before = written()
    assert before[0] == 1
    assert before[1] >= 1
    _migrate(database)
    assert written() == before
    database.drop()


def _says(connection: psycopg.Connection[Any], breaking: Breaking) -> str:
    """The SQLSTATE with which a statement fails, or ``""``; what it did is undone."""
    try:
        with connection.transaction(force_rollback=True):
            say(connection, breaking.statement)
    except errors.Error as error:
        return error.sqlstate or "no SQLSTATE"
    return ""


@pytest.mark.claim("breaking-changes-are-known")
@pytest.mark.parametrize("breaking", BREAKING, ids=lambda each: each.statement.name)
def test_known_break_happens_as_written_down(database: Database, breaking: Breaking) -> None:
    """What the list says breaks works before, and fails afterwards with just that SQLSTATE.

    Who is warned of the wrong thing meets the right one at night.
    """
    with database.connect(OWNER) as session:
        for statement in breaking.setup:
            session.execute(statement)
        speaker = database.connect(breaking.role) if breaking.role else session
        if not breaking.after_only:
            assert _says(speaker, breaking) == ""
        _migrate(database)
        if breaking.same_session:
            assert _says(speaker, breaking) == breaking.sqlstate, breaking.statement.name
        else:
            with database.connect(breaking.role or OWNER) as later:
                assert _says(later, breaking) == breaking.sqlstate, breaking.statement.name


@pytest.mark.claim("breaking-changes-are-known")
def test_renewed_connection_of_the_pool_works_again(database: Database) -> None:
    """A prepared SELECT * works again on a new connection: recycling the pool is enough.

    The advice in the README would leave the application down.
    """
    _migrate(database)
    [prepared] = [each for each in BREAKING if each.same_session]
    with database.connect(OWNER) as session:
        for statement in prepared.setup:
            session.execute(statement)
        assert _says(session, prepared) == ""
