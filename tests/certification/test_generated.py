"""Generated databases: whatever rows and schema they have, they are migrated and taken back whole, or refused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from migrate import _look as look
from phase_1.apply import Sessions
from phase_1.fingerprint import difference, fingerprint
from phase_1.found import BATCH
from phase_1.inventory import DEFAULT_ORGANIZATION
from phase_1.options import parse
from phase_1.plan import BEGIN
from phase_1.problems import DONE, REFUSED
from phase_1.scripts import checks
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.support import generated
from tests.support.generated import NAMES, Column, Connection, Difference, Row, Stored, all_schemas
from tests.support.model import CHILDREN
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

    @contextmanager
    def filled(self, drawn: Sequence[Row]) -> Iterator[Connection]:
        """A session in a database with these rows only; what fails leaves none to the next example either."""
        if self._used == _EXAMPLES_A_CLONE:
            self.close()
            self._database, self._used = self._templates.clone(self._kind), 0
            self._connection = self._database.connect()
        self._used += 1
        try:
            generated.load(self._connection, self.columns, drawn)
            yield self._connection
        finally:
            generated.empty(self._connection)

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
        if statement.sql not in (BEGIN, "COMMIT;")
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
    with bench.filled(drawn) as connection:
        before = generated.contents(connection, bench.columns)
        assert len(before) == len(drawn)
        with connection.transaction(force_rollback=True):
            connection.execute(f"SET LOCAL SESSION AUTHORIZATION {OWNER}; {bench.there}".encode())
            given_clients = [row._replace(client=DEFAULT_ORGANIZATION) for row in before]
            assert generated.contents(connection, bench.columns) == given_clients
            members = connection.execute("SELECT user_id FROM public.user_organizations WHERE is_active ORDER BY 1")
            users = connection.execute("SELECT id FROM public.users ORDER BY 1")
            assert members.fetchall() == users.fetchall(), "user_organizations"
            integrity = connection.execute("SELECT public.validate_client_data_integrity() ->> 'status'").fetchall()
            assert integrity == [("passed",)]
            connection.execute(bench.back.encode())
            assert generated.contents(connection, bench.columns) == before


@pytest.mark.claim("generated-schemas-survive")
def test_schema_of_any_kind_is_migrated_and_restored_or_refused(
    templates: Templates, variant: str, evidence: Evidence
) -> None:
    """A schema that differs is migrated and taken back whole, or refused by the right check with nothing touched.

    Deployments are not all alike, and the one that nobody has tried is the one at night.
    """
    examples: Counter[str] = Counter()

    @settings(_QUICK, max_examples=max(3, settings().max_examples // 6))
    @given(
        differences=generated.schemas(variant),
        data=st.data(),
        online=st.booleans(),
        batch=st.sampled_from([1, 2, BATCH]),
    )
    def survives(differences: list[Difference], data: st.DataObject, *, online: bool, batch: int) -> None:
        database = templates.clone(f"{variant}-empty")
        try:
            columns = _differ(database, differences)
            drawn = data.draw(generated.rows(columns), label="rows")
            outcome = _goes_there_and_back_or_stays(database, differences, columns, drawn, online, batch)
            examples[outcome] += 1
        finally:
            database.drop()

    survives()
    evidence("generated schemas", dict(examples))


@pytest.mark.claim("generated-schemas-survive")
def test_schema_with_every_difference_that_is_known_is_migrated_and_restored_or_refused(
    templates: Templates, variant: str, evidence: Evidence
) -> None:
    """All the differences that go together do go together, each with rows of NULLs and a row without any.

    What is drawn at random may leave out in a short run what a deployment has.
    """
    for differences in all_schemas(variant):
        database = templates.clone(f"{variant}-empty")
        columns = _differ(database, differences)
        drawn = generated.plain_rows(columns)
        # Batches of two: the five rows to be filled take a first one, one in between, and a last one.
        outcome = _goes_there_and_back_or_stays(database, differences, columns, drawn, online=False, batch=2)
        assert outcome == ("refused" if differences[0].refused else "there and back")
        evidence(outcome, [each.name for each in differences])
        database.drop()


def _differ(database: Database, differences: Sequence[Difference]) -> dict[str, list[Column]]:
    """Makes the schema differ, and answers with the columns that it has then."""
    with database.connect() as connection:
        for each in differences:
            connection.execute(each.sql.encode())
        return generated.read_columns(connection)


def _goes_there_and_back_or_stays(
    database: Database,
    differences: Sequence[Difference],
    columns: dict[str, list[Column]],
    drawn: Sequence[Row],
    online: bool,
    batch: int,
) -> str:
    mode = ["--force", *(["--online"] if online else [])]
    options = [*mode, *(each for one in differences for each in one.options)]
    log = ["public.migration_log"]
    with database.connect() as connection, patch("phase_1.found.BATCH", batch):
        generated.load(connection, columns, drawn)
        for each in differences:
            connection.execute(each.after.encode())
        before, objects = generated.contents(connection, columns), fingerprint(connection, exclude=log)
        organizations = generated.organizations(connection)
        migrated = run("--dsn", database.owner_dsn, "--json", *options)
        expected = {each.refused for each in differences if each.refused}
        default = next((id_ for id_, slug, _ in organizations if slug == "default-org"), DEFAULT_ORGANIZATION)
        if _somebody_disagrees(connection, columns, default):
            expected.add("rows_agree_with_their_parent")
        # A client_id that was there is filled by an UPDATE: such a row has another place and transaction then.
        had = set() if expected else {name for name in NAMES if any(each.name == "client_id" for each in columns[name])}
        filled = {row[:2] for row in before if row.table in had and row.client is None}
        gone: list[str] = []
        if expected:
            assert migrated.status == REFUSED, migrated.err
            # Where somebody else's objects are in the way, nothing else is asked.
            asked = expected & {check.name for check in checks("trust")} or expected
            assert {each["check"] for each in migrated.findings if each["level"] == "error"} >= asked
        else:
            assert migrated.status == DONE, migrated.err
            given_clients = [row._replace(client=row.client or default) for row in before]
            assert _but_for(filled, generated.contents(connection, columns)) == _but_for(filled, given_clients)
            back = run("--dsn", database.owner_dsn, "--rollback", *mode)
            assert back.status == DONE, back.err
            gone = [line for each in differences for line in each.not_restored]
        # What cannot be told from what belonged to the default before stays filled, as preflight warns.
        kept = had & {row.table for row in before if row.client == default}
        after = [row._replace(client=row.client or default) if row.table in kept else row for row in before]
        assert _but_for(filled, generated.contents(connection, columns)) == _but_for(filled, after)
        assert difference(objects, fingerprint(connection, exclude=log)) == gone
        assert generated.organizations(connection) == organizations
    return "refused" if expected else "there and back"


def _but_for(filled: set[tuple[str, str]], rows: Sequence[Stored]) -> list[Stored]:
    """The rows in an order that is always the same, without the places of those that were filled."""
    return sorted((row._replace(ctid="", xmin="") if row[:2] in filled else row for row in rows), key=repr)


def _somebody_disagrees(connection: Connection, columns: dict[str, list[Column]], default: str) -> bool:
    """Whether a row would belong to another client than its upload."""
    if any(each.name == "client_id" and each.type != "uuid" for name in NAMES for each in columns[name]):
        return False  # another finding's business
    whole = {
        name: [row for (row,) in connection.execute(f"SELECT to_jsonb(t) FROM public.{name} AS t".encode())]
        for name in NAMES
    }
    clients = {row["id"]: row.get("client_id") or default for row in whole["uploads"]}
    return any(
        (row.get("client_id") or default) != clients.get(row["upload_id"], row.get("client_id") or default)
        for name in CHILDREN
        for row in whole[name]
    )
