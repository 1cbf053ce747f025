"""Any history: migrations, failures and rollbacks between what people and the old application do."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar
from unittest.mock import patch

import psycopg
import pytest
from hypothesis import HealthCheck, currently_in_test_context, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import errors, sql

from phase_1.fingerprint import Fingerprint, difference, fingerprint
from phase_1.problems import DONE, FAILED, REFUSED, STOPPED, USAGE, VIOLATIONS
from tests.application import statements as application
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.support.model import CHILDREN, DEFAULT, DEFAULT_SLUG, TABLES, Membership, Model, Organization, Row
from tests.support.proxy import Proxy, Statement
from tests.support.runner import run

T = TypeVar("T")

UNKNOWN = "ffffffff-ffff-4fff-8fff-ffffffffffff"  # an id that nobody has
_EPOCH = datetime(2024, 1, 1, tzinfo=timezone.utc)
_DEADLINE = 20.0  # seconds for what happens at once on a server that is alive

#: Which row, user or organization: an index into those that are there, counted on from the first again.
_any = st.integers(0, 7)
_mode = st.sampled_from([(), ("--online",), ("--online", "--jobs=2")])
_active = st.sampled_from([True, True, False, None])
# Few of them, so that memberships of the same age are common; None is what the column allows.
_moment = st.sampled_from([_EPOCH, _EPOCH + timedelta(days=1), datetime(2100, 1, 1, tzinfo=timezone.utc), None])

How = Literal["cut", "killed", "refused", "uncommitted", "unheard", "unbuilt", "half-way"]
#: What can go wrong at a step, at the latest with its entry in the log.
ANYWHERE: tuple[How, ...] = (
    "cut",  # the network drops before the entry is written
    "killed",  # somebody terminates the backend before the entry is written
    "refused",  # the server answers the entry with an error, and the session lives on
    "uncommitted",  # the network drops before the COMMIT
    "unheard",  # the network drops after the COMMIT: the client never learns
)
#: … and at a statement with CONCURRENTLY, which PostgreSQL commits piece by piece.
CONCURRENTLY: tuple[How, ...] = (
    "unbuilt",  # the network drops before the statement
    "half-way",  # the backend is terminated while it waits for an older transaction
)
_how = st.sampled_from([*ANYWHERE, *CONCURRENTLY])


@dataclass
class Stage:
    """What the examples of one variant have in common, and what is counted over all of them."""

    templates: Templates
    variant: str
    forward: list[str]
    back: list[str]
    pristine: Fingerprint
    migrated: Fingerprint
    counted: Counter[str] = field(default_factory=Counter)

    def summary(self, seconds: float) -> dict[str, Any]:
        """For the certificate."""
        return {
            **dict(sorted(self.counted.items())),
            "compared per second": round(self.counted["compared"] / seconds, 1),
        }


@pytest.mark.claim("model-agrees")
def test_database_agrees_with_the_model_after_any_history(
    templates: Templates, variant: str, evidence: Evidence
) -> None:
    """Whatever is migrated, broken off, rolled back and written in between, the database is what the model says.

    What fails only in some order of events is found by no test that somebody thought of, but by production.
    """
    life = _life(templates, variant)
    started = time.monotonic()
    run_state_machine_as_test(life, settings=_settings())
    evidence(f"the histories of {variant}", life.stage.summary(time.monotonic() - started))


@pytest.mark.claim("model-agrees")
def test_database_agrees_with_the_model_through_a_whole_life(
    templates: Templates, variant: str, evidence: Evidence
) -> None:
    """One history in which everything happens that can happen ends, and goes on, as the model says.

    What is drawn at random may leave out in a short run what every deployment meets.
    """
    life = _life(templates, variant)
    started = time.monotonic()
    state = life()
    try:
        for step in _whole_life(state):
            step()
            state.agrees()
    finally:
        state.teardown()
    evidence(f"a whole life of {variant}", life.stage.summary(time.monotonic() - started))


def _settings() -> settings:
    """The profile's, scaled: an example here is a database and dozens of steps, some of half a second."""
    return settings(
        max_examples=max(3, settings().max_examples // 20),
        stateful_step_count=20,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


class Life(RuleBasedStateMachine):
    """One database, and the model of it. Every rule does the same to both; the invariant compares them."""

    stage: ClassVar[Stage]

    @initialize(migrated=st.sampled_from([True, True, False]))
    def begin(self, migrated: bool) -> None:
        self.database = self.stage.templates.clone(f"{self.stage.variant}-tiny{'-migrated' * migrated}")
        # What the driver prepares by itself, it would go on using across a migration.
        self.owner = self.database.connect(OWNER, prepare_threshold=None)
        self.model = Model(self.stage.variant, _rows(self.owner), forward=self.stage.forward, back=self.stage.back)
        if migrated:
            self._applied(self.stage.forward)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.drop()

    # There and back

    @rule(mode=_mode)
    def migrate(self, mode: tuple[str, ...]) -> None:
        steps = self.model.to_do()
        code, result = self._run(*mode, "--force")
        if self.model.refused():
            assert code == REFUSED
            return
        assert result.get("plan", {"to_do": []})["to_do"] == steps, "these are the steps that are missing"
        self._applied(steps)
        assert code == (VIOLATIONS if steps and not self.model.integrity().passed else DONE)

    @rule(mode=_mode)
    def roll_back(self, mode: tuple[str, ...]) -> None:
        steps, lost = self.model.to_undo(), self.model.lost()
        code, result = self._run("--rollback", *mode[:1], "--force")
        assert code == DONE
        assert result.get("plan", {"to_do": []})["to_do"] == steps, "these are the steps to be taken back"
        if steps:
            assert Counter({(each["organization"], each["table"]): each["rows"] for each in result["lost"]}) == lost
        self._applied(steps)

    @precondition(lambda self: not self.model.migrated and not self.model.refused())
    @rule(at=st.integers(0, 100), how=_how, online=st.booleans())
    def fail_to_migrate(self, at: int, how: How, online: bool) -> None:
        self._fail((), self.model.to_do(), "migrate", at, how, online)

    @precondition(lambda self: not self.model.pristine)
    @rule(at=st.integers(0, 100), how=_how, online=st.booleans())
    def fail_to_roll_back(self, at: int, how: How, online: bool) -> None:
        self._fail(("--rollback",), self.model.to_undo(), "rollback", at, how, online)

    @precondition(lambda self: self.model.migrated)
    @rule(question=st.sampled_from(["--verify", "--rollback"]))
    def look(self, question: str) -> None:
        code, result = self._run(question)
        if question == "--rollback":
            # Refused where other clients own something; else it wants to ask, and nobody is there.
            others = any(organization != DEFAULT_SLUG for organization, _ in self.model.lost())
            assert code == (REFUSED if others else USAGE)
            return
        assert code == (DONE if self.model.integrity().passed else VIOLATIONS)
        warned = {finding["check"] for finding in result["report"]["findings"] if finding["level"] == "warning"}
        assert ("clients_are_isolated" in warned) == (len(self.model.organizations) > 1)
        assert ("users_have_a_membership" in warned) == any(
            not self.model.memberships_of(user) for user in self.model.rows["users"]
        )

    # The old application, at any time

    @rule(number=st.integers(0, 60))
    def old_statement(self, number: int) -> None:
        statement = _nth(number, application.OLD_STATEMENTS[self.stage.variant])
        self._count(f"old: {statement.name}")
        # The few rows that such a statement needs may be used up: then it says nothing.
        with self.owner.transaction() as transaction:
            try:
                application.run(self.owner, statement)
            except application.NoRowTouchedError:
                raise psycopg.Rollback(transaction) from None
            except errors.NotNullViolation as error:
                if error.diag.column_name != "id":
                    raise
                raise psycopg.Rollback(transaction) from None
        self.model.follow(_rows(self.owner))

    @rule()
    def sign_up(self) -> None:
        name = {"founding": "insert_user", "deployed": "sign_up"}[self.stage.variant]
        [statement] = [each for each in application.OLD_STATEMENTS[self.stage.variant] if each.name == name]
        before = len(self.model.rows["users"])
        application.run(self.owner, statement)
        self.model.follow(_rows(self.owner))
        assert len(self.model.rows["users"]) == before + 1

    @precondition(lambda self: self.model.rows["uploads"])
    @rule(table=st.sampled_from(CHILDREN), upload=_any)
    def process_upload(self, table: str, upload: int) -> None:
        columns, values = {
            "sellout_entries2": ("year, month, quantity", "2026, 1, 1"),
            "processing_logs": ("stage, status", "'parsed', 'ok'"),
            "transform_logs": ("transformation", "'ean'"),
        }[table]
        self.owner.execute(
            sql.SQL(f"INSERT INTO public.{{}} (upload_id, {columns}) VALUES (%s, {values})").format(
                sql.Identifier(table)
            ),
            [_nth(upload, list(self.model.rows["uploads"]))],
        )
        self.model.follow(_rows(self.owner))

    @precondition(lambda self: self.model.rows["uploads"])
    @rule(upload=_any)
    def delete_upload(self, upload: int) -> None:
        chosen = _nth(upload, list(self.model.rows["uploads"]))
        self.owner.execute("DELETE FROM public.uploads WHERE id = %s", [chosen])
        self.model.delete_upload(chosen)

    @precondition(lambda self: self.model.rows["users"])
    @rule(user=_any)
    def delete_user(self, user: int) -> None:
        chosen = self._user(user)
        self.owner.execute("DELETE FROM public.users WHERE id = %s", [chosen])
        self.model.delete_user(chosen)
        self._take_content("uploads")  # user_id is NULL in those of the user

    # The back end of the time after Phase 1

    @precondition(lambda self: self.model.migrated)
    @rule(active=st.lists(_active, min_size=1, max_size=3))
    def found_organizations(self, active: list[bool | None]) -> None:
        for each in active:
            number = self._number()
            self.owner.execute(
                "INSERT INTO public.organizations (id, name, slug, is_active) VALUES (%s, %s, %s, %s)",
                [number, f"Organization {number}", f"organization-{number}", each],
            )
            self.model.organizations[number] = Organization(f"organization-{number}", each)

    @precondition(lambda self: self.model.migrated)
    @rule(organization=_any, active=_active)
    def switch_organization(self, organization: int, active: bool | None) -> None:
        chosen = self._organization(organization)
        self.owner.execute("UPDATE public.organizations SET is_active = %s WHERE id = %s", [active, chosen])
        self.model.organizations[chosen].active = active

    @precondition(lambda self: self.model.migrated and len(self.model.organizations) > 1)
    @rule(organization=_any)
    def delete_organization(self, organization: int) -> None:
        chosen = _nth(organization, [each for each in self.model.organizations if each != DEFAULT])
        with _refused_if(self.model.owns_something(chosen), errors.IntegrityError) as expected:
            self.owner.execute("DELETE FROM public.organizations WHERE id = %s", [chosen])
        if not expected:
            del self.model.organizations[chosen]

    @precondition(lambda self: self.model.migrated and self.model.rows["users"])
    @rule(given=st.lists(st.tuples(_any, _any, _active, _moment), min_size=1, max_size=8))
    def give_memberships(self, given: list[tuple[int, int, bool | None, datetime | None]]) -> None:
        for user, organization, active, moment in given:
            pair = self._user(user), self._organization(organization)
            made = Membership(active, moment, self._number())
            with _refused_if(pair in self.model.memberships, errors.UniqueViolation) as expected:
                self.owner.execute(
                    "INSERT INTO public.user_organizations (id, user_id, organization_id, is_active, created_at)"
                    " VALUES (%s, %s, %s, %s, %s)",
                    [made.id, *pair, made.active, made.created_at],
                )
            if not expected:
                self.model.memberships[pair] = made

    @precondition(lambda self: self.model.memberships)
    @rule(membership=_any, active=_active)
    def switch_membership(self, membership: int, active: bool | None) -> None:
        pair = _nth(membership, list(self.model.memberships))
        self.owner.execute(
            "UPDATE public.user_organizations SET is_active = %s WHERE user_id = %s AND organization_id = %s",
            [active, *pair],
        )
        self.model.memberships[pair].active = active

    @precondition(lambda self: self.model.memberships)
    @rule(membership=_any)
    def revoke_membership(self, membership: int) -> None:
        pair = _nth(membership, list(self.model.memberships))
        self.owner.execute("DELETE FROM public.user_organizations WHERE user_id = %s AND organization_id = %s", pair)
        del self.model.memberships[pair]

    @precondition(lambda self: self.model.migrated and self.model.memberships)
    @rule(membership=_any, organization=_any)
    def move_membership(self, membership: int, organization: int) -> None:
        pair = _nth(membership, list(self.model.memberships))
        target = pair[0], self._organization(organization)
        with _refused_if(target in self.model.memberships and target != pair, errors.UniqueViolation) as expected:
            self.owner.execute(
                "UPDATE public.user_organizations SET organization_id = %s WHERE user_id = %s AND organization_id = %s",
                [target[1], *pair],
            )
        if not expected:
            self.model.memberships[target] = self.model.memberships.pop(pair)

    @precondition(lambda self: self.model.migrated)
    @rule(
        table=st.sampled_from(["users", "users", *TABLES]),
        rows=st.sets(_any, min_size=1, max_size=4),
        organization=_any,
    )
    def move_rows(self, table: str, rows: set[int], organization: int) -> None:
        there = list(self.model.rows[table])
        chosen = [there[each] for each in rows if each < len(there)]
        client = self._organization(organization)
        self.owner.execute(
            sql.SQL("UPDATE public.{} SET client_id = %s WHERE id::text = ANY (%s)").format(sql.Identifier(table)),
            [client, chosen],
        )
        for each in chosen:
            self.model.rows[table][each].client = client
        if table == "sellout_entries2":
            self._take_content(table)  # the deployed application's trigger counts every update

    # What must hold after every rule

    @invariant()
    def agrees(self) -> None:
        self._count("compared")
        assert _rows(self.owner) == self.model.rows
        self._organizations_and_memberships_agree()
        self._answers_agree()

    def _organizations_and_memberships_agree(self) -> None:
        if self._there("organizations", "create_organizations"):
            found = self.owner.execute("SELECT id::text, slug, is_active FROM public.organizations").fetchall()
            assert {id_: Organization(slug, active) for id_, slug, active in found} == self.model.organizations
        if self._there("user_organizations", "create_user_organizations"):
            assert self._memberships() == self.model.memberships, "user_organizations"

    def _answers_agree(self) -> None:
        if "create_get_user_organization_id" not in self.model.done:
            return
        users = [*self.model.rows["users"], DEFAULT, UNKNOWN, None]
        clients = [*self.model.organizations, *list(self.model.rows["users"])[:1], UNKNOWN, None]
        answered = self.owner.execute(
            "SELECT u::text, public.get_user_organization_id(u) ::text FROM unnest(%s::uuid[]) AS u", [users]
        ).fetchall()
        assert dict(answered) == {user: self.model.organization_of(user) for user in users}
        if "create_validate_client_access" in self.model.done:
            access = self.owner.execute(
                "SELECT u::text, c::text, public.validate_client_access(u, c)"
                " FROM unnest(%s::uuid[]) AS u, unnest(%s::uuid[]) AS c",
                [users, clients],
            ).fetchall()
            assert {(user, client): may for user, client, may in access} == {
                (user, client): self.model.may_access(user, client) for user in users for client in clients
            }
        if "create_validate_client_data_integrity" in self.model.done:
            [[found]] = self.owner.execute("SELECT public.validate_client_data_integrity()").fetchall()
            counts = self.model.integrity()
            assert found == {
                "status": "passed" if counts.passed else "failed",
                "violations": sum(counts.disagreeing.values()),
                "tables": {
                    table: {
                        "without_client": 0,
                        "unknown_client": 0,
                        "disagreeing": counts.disagreeing[table],
                        "guaranteed": ["without_client", "unknown_client"],
                    }
                    for table in TABLES
                },
            }

    # Helpers

    def _run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        self._count(" ".join(("run", *arguments)))
        return _run(self.database.owner_dsn, *arguments)

    def _applied(self, steps: Iterable[str]) -> None:
        """The steps are done: the model does them too, and the catalog is what it is to be."""
        for step in steps:
            self.model.apply(step)
        if "create_user_organizations" in self.model.done:
            # Which ids and times the new memberships got is the database's choice.
            for pair, found in self._memberships().items():
                made = self.model.memberships.get(pair)
                if made is not None and made.id is None:
                    made.id, made.created_at = found.id, found.created_at
        if self.model.pristine:
            assert difference(self.stage.pristine, _fingerprint(self.database)) == []
        if self.model.migrated:
            assert difference(self.stage.migrated, _fingerprint(self.database)) == []

    def _fail(
        self, arguments: tuple[str, ...], steps: list[str], operation: str, at: int, how: How, online: bool
    ) -> None:
        """Runs with a failure at one of the steps, and has the model do what must have been committed."""
        concurrent = [step for step in steps if _concurrent(step)]
        if how in CONCURRENTLY and not (online and concurrent):
            how = "cut"
        step = _nth(at, concurrent if how in CONCURRENTLY else [*steps, operation])
        if how == "refused" and not self.model.logged:
            how = "killed"  # there is no log yet whose privileges could be revoked
        before, began = _fingerprint(self.database), self._is_on_the_way(operation)
        self._count(f"{operation}{' --online' * online} {how} at {step.partition('(')[0]}")
        with Fault(self.database, step, how) as fault:
            code, result = _run(fault.dsn, *arguments, *["--online"] * online, "--force")
        assert fault.happened, f"nothing happened at {step}: {result}"
        assert result["plan"]["to_do"] == steps
        committed = _committed(steps, step, how, online)
        self._applied(committed)
        if step in steps and how == "half-way":
            self.model.invalidate(step)
        assert code == (
            STOPPED if how == "unheard" or (online and (began or committed or _concurrent(step))) else FAILED
        )
        if not online and how != "unheard":
            assert difference(before, _fingerprint(self.database)) == []

    def _is_on_the_way(self, operation: str) -> bool:
        """Whether a run before this one was stopped in the middle."""
        if operation == "migrate":
            return bool(self.model.done - {"create_migration_log"})
        [(last, status)] = self.owner.execute(
            "SELECT operation, status FROM public.migration_log WHERE operation IN ('migrate', 'rollback')"
            " ORDER BY id DESC LIMIT 1"
        ).fetchall() or [("", "")]
        return bool(last == operation and status != "completed")

    def _memberships(self) -> dict[tuple[str, str], Membership]:
        return {
            (user, organization): Membership(active, created_at, id_)
            for user, organization, active, created_at, id_ in self.owner.execute(
                "SELECT user_id::text, organization_id::text, is_active, created_at, id::text"
                " FROM public.user_organizations"
            )
        }

    def _take_content(self, table: str) -> None:
        """Takes what the table's rows hold now, but for whose they are; which rows there are is the model's."""
        seen = _rows(self.owner)[table]
        assert seen.keys() == self.model.rows[table].keys()
        for key, row in seen.items():
            self.model.rows[table][key].digest = row.digest

    def _there(self, table: str, step: str) -> bool:
        """Whether a new table is there, which it must be if and only if its step is done."""
        [[there]] = self.owner.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]).fetchall()
        assert there == (step in self.model.done)
        return bool(there)

    def _user(self, number: int) -> str:
        return _nth(number, list(self.model.rows["users"]))

    def _organization(self, number: int) -> str:
        return _nth(number, list(self.model.organizations))

    def _number(self) -> str:
        """An id of its own, lesser than those before: an order of ids is not the order in which rows were made."""
        self.numbers = getattr(self, "numbers", 0) + 1
        return f"{0xFFFF - self.numbers:08x}-0000-4000-8000-{self.numbers:012x}"

    def _count(self, what: str) -> None:
        self.stage.counted[what] += 1


class Fault:
    """Stands between the runner and the database, and has one step fail.

    Left once everything that the runner had under way on the server has ended.
    """

    def __init__(self, database: Database, step: str, how: How) -> None:
        self._database = database
        self._step = step
        self._how = how
        self._noted: int | None = None
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self.happened = False

    def __enter__(self) -> Fault:
        self._proxy = Proxy(self._database.server)
        self._proxy.before(self._before)
        self._proxy.after(self._after)
        return self

    @property
    def dsn(self) -> str:
        """The way to the database that leads past the fault."""
        return self._proxy.dsn(self._database.name, OWNER)

    def __exit__(self, *exception: object) -> None:
        for thread in self._threads:
            thread.join()
        self._proxy.close()
        if self._how == "refused":
            self._database.execute(f"GRANT INSERT ON public.migration_log TO {OWNER}")
        with closing(self._database.connect()) as connection:
            _wait_until(
                connection,
                "SELECT NOT EXISTS (SELECT FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'phase_1')",
            )
        if self._errors:
            raise self._errors[0]

    def _before(self, statement: Statement) -> Literal["cut"] | None:
        if self._how in CONCURRENTLY:
            concurrent = statement.sql.startswith(("CREATE INDEX CONCURRENTLY", "DROP INDEX CONCURRENTLY"))
            if concurrent and self._step.partition("(")[2][:-1] in statement.sql:
                self.happened = True
                if self._how == "unbuilt":
                    return "cut"
                self._kill_half_way()
            return None
        if statement.sql.startswith("INSERT INTO public.migration_log") and f"'{self._step}', 'completed'" in (
            statement.sql
        ):
            self._noted = statement.connection
            self.happened = True
            if self._how == "cut":
                return "cut"
            if self._how == "killed":
                self._kill("state LIKE 'idle in transaction%'")
            if self._how == "refused":
                self._database.execute(f"REVOKE INSERT ON public.migration_log FROM {OWNER}")
        if self._how == "uncommitted" and self._is_commit(statement):
            return "cut"
        return None

    def _after(self, statement: Statement) -> Literal["cut"] | None:
        return "cut" if self._how == "unheard" and self._is_commit(statement) else None

    def _is_commit(self, statement: Statement) -> bool:
        return statement.sql == "COMMIT;" and statement.connection == self._noted

    def _kill(self, condition: str) -> None:
        """Terminates the backend of the run that is in that condition, as soon as there is one, and waits."""
        which = f"datname = current_database() AND application_name = 'phase_1' AND {condition}"
        with closing(self._database.connect()) as connection:
            _wait_until(connection, f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {which})")
            pids = [pid for (pid,) in connection.execute(f"SELECT pid FROM pg_stat_activity WHERE {which}")]
            connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [pids])
            _wait_until(connection, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY (%s))", pids)

    def _kill_half_way(self) -> None:
        """Has the statement wait for an older transaction, and terminates it there."""
        older = self._database.connect(autocommit=False)
        tables = sql.SQL(", ").join(sql.Identifier("public", name) for name in TABLES)
        older.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(tables))

        def kill() -> None:
            try:
                self._kill("query LIKE '% CONCURRENTLY %' AND cardinality(pg_blocking_pids(pid)) > 0")
            except BaseException as error:
                self._errors.append(error)
            finally:
                older.close()

        thread = threading.Thread(target=kill)
        self._threads.append(thread)
        thread.start()


def _committed(steps: list[str], step: str, how: How, online: bool) -> list[str]:
    """Which of the steps are done after a failure at one of them."""
    at = steps.index(step) if step in steps else len(steps)
    if online:
        # An index is there, once its build has ended, whether or not it got its entry in the log.
        through = how == "unheard" or (_concurrent(step) and how not in CONCURRENTLY)
        return steps[: at + through]
    # The log has a transaction of its own, before the one of everything else.
    if step == "create_migration_log":
        return steps[: how == "unheard"]
    return steps if how == "unheard" else [each for each in steps if each == "create_migration_log"]


def _concurrent(step: str) -> bool:
    return step.startswith(("create_index", "drop_index", "drop_invalid_index"))


def _whole_life(state: Life) -> list[Callable[[], None]]:
    """A history in which every rule has its turn, with the cases that the functions tell apart."""
    day = timedelta(days=1)
    back = state.stage.back
    return [
        partial(state.begin, migrated=False),
        # Not there yet, and on the way there more than once; people keep signing up.
        partial(state.roll_back, mode=()),
        state.sign_up,
        partial(state.fail_to_migrate, at=20, how="killed", online=False),
        partial(state.fail_to_migrate, at=12, how="cut", online=True),
        partial(state.old_statement, number=3),
        partial(state.fail_to_migrate, at=4, how="half-way", online=True),
        state.sign_up,
        partial(state.migrate, mode=("--online",)),
        partial(state.look, question="--verify"),
        # Organizations 1 to 4: active, inactive, active, neither. Users 0 to 3 have moved to one that is closed.
        partial(state.found_organizations, active=[True, False, True, None]),
        partial(state.move_rows, table="users", rows={0, 1, 2, 3}, organization=2),
        partial(
            state.give_memberships,
            given=[
                *[(0, 1, True, _EPOCH + day), (0, 3, True, _EPOCH)],  # the first one is not the oldest
                *[(1, 1, True, _EPOCH), (1, 3, True, _EPOCH)],  # they are of the same age
                *[(2, 1, False, _EPOCH), (2, 3, None, _EPOCH), (2, 4, True, None), (2, 4, True, None)],
            ],
        ),
        partial(state.switch_organization, organization=0, active=False),
        partial(state.switch_membership, membership=2, active=False),
        partial(state.move_membership, membership=3, organization=2),
        partial(state.revoke_membership, membership=4),
        partial(state.switch_organization, organization=2, active=True),
        partial(state.delete_organization, organization=0),  # refused: it has members
        partial(state.look, question="--rollback"),
        partial(state.delete_user, user=0),
        # Half the way back, and there again: the new memberships are those that users.client_id still tells.
        partial(state.fail_to_roll_back, at=2, how="refused", online=False),
        partial(state.fail_to_roll_back, at=back.index("drop_client_id(users)"), how="cut", online=True),
        state.sign_up,
        partial(state.fail_to_migrate, at=0, how="uncommitted", online=True),
        partial(state.migrate, mode=()),
        # Uploads and what came of them go different ways.
        partial(state.move_rows, table="uploads", rows={0, 1}, organization=1),
        partial(state.move_rows, table="sellout_entries2", rows={0, 2}, organization=1),
        partial(state.process_upload, table="sellout_entries2", upload=0),
        partial(state.process_upload, table="transform_logs", upload=1),
        partial(state.look, question="--verify"),
        partial(state.delete_upload, upload=1),
        # Further back: there the way ahead is refused, and the way back is open.
        partial(state.fail_to_roll_back, at=back.index("drop_client_id(products)"), how="unheard", online=True),
        partial(state.migrate, mode=()),
        partial(state.fail_to_roll_back, at=0, how="uncommitted", online=False),
        partial(state.roll_back, mode=()),
        partial(state.migrate, mode=("--online", "--jobs=2")),
        partial(state.fail_to_roll_back, at=1, how="half-way", online=True),
        partial(state.fail_to_migrate, at=1, how="unbuilt", online=True),
        partial(state.roll_back, mode=("--online",)),
        partial(state.migrate, mode=()),
        partial(state.migrate, mode=()),
        partial(state.fail_to_roll_back, at=7, how="unheard", online=False),
        state.sign_up,
    ]


def _life(templates: Templates, variant: str) -> type[Life]:
    """The machine, with what is known before its first history: the steps there and back, and both catalogs."""

    class LifeHere(Life):
        pass

    database = templates.clone(f"{variant}-tiny")
    try:
        pristine = _fingerprint(database)
        code, result = _run(database.owner_dsn, "--force")
        assert code == DONE
        forward = result["plan"]["to_do"]
        migrated = _fingerprint(database)
        code, result = _run(database.owner_dsn, "--rollback", "--dry-run")
        assert code == DONE
        LifeHere.stage = Stage(templates, variant, forward, result["plan"]["to_do"], pristine, migrated)
        return LifeHere
    finally:
        database.drop()


def _run(dsn: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Runs ``migrate.py`` where there is no terminal to ask on, not even with ``-s``; its exit code and its JSON."""
    with patch("sys.stdin", io.StringIO()):
        ended = run("--dsn", dsn, "--json", *arguments)
    if currently_in_test_context():
        note(f"# migrate.py {' '.join(arguments)} ended with {ended.status}: {ended.err.splitlines()[-1]}")
    return ended.status, ended.json


def _rows(connection: psycopg.Connection[Any]) -> dict[str, dict[str, Row]]:
    """Every row of the tenant tables: its upload, its client, and a digest of all but the client."""
    query = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT {name}, whole ->> 'id', whole ->> 'upload_id', whole ->> 'client_id',"
            " md5((whole - 'client_id')::text) FROM (SELECT to_jsonb(t) AS whole FROM public.{table} AS t) AS t"
        ).format(name=sql.Literal(table), table=sql.Identifier(table))
        for table in TABLES
    )
    rows: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
    for table, key, parent, client, digest in connection.execute(query + sql.SQL(" ORDER BY 1, 2")):
        rows[table][key] = Row(parent, client, digest)
    return rows


def _fingerprint(database: Database) -> Fingerprint:
    with closing(database.connect()) as connection:
        return fingerprint(connection, exclude=("public.migration_log",))


def _wait_until(connection: psycopg.Connection[Any], query: str, *parameters: Any) -> None:
    """Asks until the answer is yes."""
    deadline = time.monotonic() + _DEADLINE
    while not connection.execute(query.encode(), parameters or None).fetchall()[0][0]:
        assert time.monotonic() < deadline, query


@contextmanager
def _refused_if(expected: bool, error: type[psycopg.Error]) -> Iterator[bool]:
    """The statements inside are refused if and only if that is expected."""
    if not expected:
        yield False
        return
    with pytest.raises(error):
        yield True


def _nth(number: int, things: Sequence[T]) -> T:
    return things[number % len(things)]
