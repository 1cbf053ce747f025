"""Generated databases: whatever rows and schema they have, they are migrated and taken back whole, or refused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from migrate import _look as look
from phase_1.apply import Sessions
from phase_1.fingerprint import difference, fingerprint
from phase_1.inventory import DEFAULT_ORGANIZATION
from phase_1.options import parse
from phase_1.problems import DONE, REFUSED
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.support import generated
from tests.support.generated import NAMES, Connection, Difference, Row
from tests.support.runner import run

#: What is dropped by then is still in the catalog, and makes each example slower than the one before.
_EXAMPLES_A_CLONE = 40


class Bench:
    """A database that is filled, migrated and taken back in one transaction, and is empty again for the next rows.

    What runs is the plan for an empty database, statement by statement; another claim has it that the runner
    does just that.
    """

    def __init__(self, templates: Templates, variant: str) -> None:
        self._templates = templates
        self._kind = f"{variant}-empty"
        self._used = _EXAMPLES_A_CLONE
        self._database: Database | None = None
        database = templates.clone(self._kind)
        self.there = _script(database)
        self.columns = generated.read_columns(database.connect())
        database.drop()
        database = templates.clone(f"{self._kind}-migrated")
        self.back = _script(database, "--rollback")
        database.drop()

    def fresh(self) -> Connection:
        """A session in a database without rows."""
        if self._used == _EXAMPLES_A_CLONE:
            self.close()
            self._database, self._used = self._templates.clone(self._kind), 0
            self._connection = self._database.connect()
        self._used += 1
        return self._connection

    def close(self) -> None:
        if self._database is not None:
            self._database.drop()


def _script(database: Database, *arguments: str) -> str:
    """The statements of a plan, without those that begin and end its transactions."""
    sessions = Sessions(database.owner_dsn)
    plan = look(sessions, parse(["--force", *arguments]))[2]
    sessions.close()
    return "\n".join(
        statement.sql
        for transaction in plan.transactions
        for statement in transaction.statements
        if statement.sql not in ("BEGIN;", "COMMIT;")
    )


@pytest.fixture
def bench(templates: Templates, variant: str) -> Iterator[Bench]:
    made = Bench(templates, variant)
    yield made
    made.close()


_QUICK = settings(
    # An example is a migration: one failure is enough, and its lines need no explanation that takes minutes.
    report_multiple_bugs=False,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.claim("generated-rows-survive")
def test_rows_of_any_kind_are_given_a_client_and_are_otherwise_untouched(bench: Bench, evidence: Evidence) -> None:
    """Whatever the rows hold, each has a client afterwards, is as it was, and is as it was again after the rollback.

    The row that nobody thought of is in the only copy of the data.
    """
    began, examples = time.monotonic(), 0

    @_QUICK
    @given(generated.rows(bench.columns))
    def survives(drawn: list[Row]) -> None:
        nonlocal examples
        examples += 1
        _goes_there_and_back(bench, drawn)

    survives()
    evidence("generated databases", examples)
    evidence("databases a second", round(examples / (time.monotonic() - began), 1))


def _goes_there_and_back(bench: Bench, drawn: Sequence[Row]) -> None:
    connection = bench.fresh()
    generated.load(connection, bench.columns, drawn)
    before = generated.contents(connection)
    assert len(before) == len(drawn)
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL SESSION AUTHORIZATION {OWNER}; {bench.there}".encode())
        assert generated.contents(connection) == before
        assert _owners(connection) == [(DEFAULT_ORGANIZATION, len(drawn))] * bool(drawn)
        members = connection.execute("SELECT user_id FROM public.user_organizations WHERE is_active ORDER BY 1")
        users = connection.execute("SELECT id FROM public.users ORDER BY 1")
        assert members.fetchall() == users.fetchall()
        [(integrity,)] = connection.execute("SELECT public.validate_client_data_integrity() ->> 'status'").fetchall()
        assert integrity == "passed"
        connection.execute(bench.back.encode())
        assert generated.contents(connection) == before
    connection.execute("SET session_replication_role = replica")
    connection.execute("; ".join(f"DELETE FROM public.{name}" for name in NAMES).encode())
    connection.execute("RESET session_replication_role")


def _owners(connection: Connection) -> list[tuple[str, int]]:
    """How many rows of the seven tables each client has."""
    every = " UNION ALL ".join(f"SELECT client_id::text FROM public.{name}" for name in NAMES)
    found = connection.execute(f"SELECT client_id, count(*) FROM ({every}) AS t GROUP BY 1 ORDER BY 1".encode())
    return [(client, count) for client, count in found.fetchall()]


@pytest.mark.claim("generated-schemas-survive")
def test_schema_of_any_kind_is_migrated_and_restored_or_refused(
    templates: Templates, variant: str, evidence: Evidence
) -> None:
    """A schema that differs is migrated and taken back whole, or refused by the right check with nothing touched.

    Deployments are not all alike, and the one that nobody has tried is the one at night.
    """
    examples: Counter[str] = Counter()

    @settings(_QUICK, max_examples=max(6, settings().max_examples // 4))
    @given(differences=generated.schemas(variant), data=st.data(), online=st.booleans())
    def survives(differences: list[Difference], data: st.DataObject, *, online: bool) -> None:
        database = templates.clone(f"{variant}-empty")
        try:
            examples[_goes_there_and_back_or_stays(database, differences, data, online=online)] += 1
        finally:
            database.drop()

    survives()
    evidence("generated schemas", dict(examples))


def _goes_there_and_back_or_stays(
    database: Database, differences: Sequence[Difference], data: st.DataObject, *, online: bool
) -> str:
    options = ["--force", *(["--online"] if online else []), *(each for one in differences for each in one.options)]
    with database.connect() as connection:
        for each in differences:
            connection.execute(each.sql.encode())
        columns = generated.read_columns(connection)
        generated.load(connection, columns, data.draw(generated.rows(columns), label="rows"))
        for each in differences:
            connection.execute(each.after.encode())
        log = ["public.migration_log"]
        before, objects = generated.contents(connection), fingerprint(connection, exclude=log)
        clients = _clients(connection)
        migrated = run("--dsn", database.owner_dsn, "--json", *options)
        expected = {each.refused for each in differences if each.refused}
        if expected:
            assert migrated.status == REFUSED, migrated.out
            assert {each["check"] for each in migrated.findings if each["level"] == "error"} >= expected
        else:
            assert migrated.status == DONE, migrated.out
            filled = {key: client or DEFAULT_ORGANIZATION for key, client in clients.items()}
            assert {**dict.fromkeys(_clients(connection), DEFAULT_ORGANIZATION), **filled} == _clients(connection)
            assert _values(generated.contents(connection)) == _values(before)
            back = run("--dsn", database.owner_dsn, "--rollback", *options)
            assert back.status == DONE, back.out + back.err
        # A client_id that was there is filled by an UPDATE: such a row has another place and transaction then.
        had_clients = any("client_id" in each.sql for each in differences)
        after = generated.contents(connection)
        assert (_values(after) == _values(before)) if had_clients else (after == before)
        gone = [] if expected else [line for each in differences for line in each.not_restored]
        assert difference(objects, fingerprint(connection, exclude=log)) == gone
        assert _clients(connection) == clients
    return "refused" if expected else "there and back"


def _values(contents: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((table, values) for table, _, _, values in contents)


def _clients(connection: Connection) -> dict[tuple[str, str], str | None]:
    """The client of each row, by what the row is otherwise; nothing of a table without the column."""
    there = connection.execute(
        "SELECT attrelid::regclass::text FROM pg_attribute WHERE attname = 'client_id' AND NOT attisdropped"
        " AND attrelid = ANY (%s::regclass[])",
        [[f"public.{name}" for name in NAMES]],
    ).fetchall()
    found: dict[tuple[str, str], str | None] = {}
    for (name,) in there:
        table = name.removeprefix("public.")
        for values, client in connection.execute(
            f"SELECT (to_jsonb(t) - 'client_id')::text, client_id::text FROM public.{table} AS t".encode()
        ):
            found[table, values] = client
    return found
