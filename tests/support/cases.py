"""How a check of ``sql/`` is tested: a case has a violation of it, the near miss, and what mends it.

The four parts are supabase/splinter's: nothing on a clean database, nothing on the near miss, a row on the
violation, nothing once mended.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from phase_1.findings import ERROR, Finding
from phase_1.fingerprint import fingerprint
from phase_1.found import begin_reading, inspect
from phase_1.options import parse
from phase_1.problems import DONE
from phase_1.trust import Untrusted
from phase_1.verify import ask, checks
from tests.plugins.database import OWNER, Database, Templates
from tests.support.runner import run

#: What is done to a database: statements of the superuser, or a function; ``{database}``, ``{superuser}`` and
#: ``{role}`` (a role of the test's own, which owns nothing) are filled in.
Change = str | Callable[[Database], None]


@dataclass(frozen=True)
class Case:
    """One violation of one check.

    ``mended_by`` is a pattern that the proposed action has to match. What it matches is then done, as options
    or as SQL, unless the action asks for something that only a person can decide or do: ``by_hand`` is
    what that person does.
    """

    check: str
    title: str
    violation: Change
    object: str
    problem: str
    mended_by: str
    near_miss: Change = ""
    by_hand: Change = ""
    near_miss_options: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    options_by_hand: tuple[str, ...] | None = None
    user: str | None = OWNER
    user_by_hand: str | None = OWNER
    variant: str = "founding"
    pg: str = ""
    stages: tuple[str, ...] = ("preflight", "rollback", "verify")

    @property
    def level(self) -> str:
        """``error``, ``warning`` or ``notice``, as the check's header says; those of Python are errors."""
        sections = (section for stage in ("preflight", "rollback", "verify") for section in checks(stage))
        return next((section.header("level") for section in sections if section.name == self.check), ERROR)


#: What the tests of some checks certify besides.
_ALSO = {
    "time_column_is_known": ("time-columns-resolved",),
    "client_id_is_a_plain_uuid": ("existing-client-id-kept",),
    "client_id_points_to_organizations": ("existing-client-id-kept",),
    "index_name_is_free": ("invalid-index-rebuilt",),
    "indexes_of_the_table_are_valid": ("invalid-index-rebuilt",),
    "nothing_depends_on_what_is_dropped": ("rollback-stops-at-dependents",),
    "nothing_refers_to_the_default_organization": ("rollback-stops-at-dependents", "rollback-restores-rows"),
    "kept_client_id_can_be_emptied": ("rollback-restores-rows",),
    "log_is_only_ours": ("rollback-stops-at-dependents",),
    "role_owns_the_table": ("no-superuser-needed",),
    "role_may_create": ("no-superuser-needed",),
}


def params(cases: Iterable[Case], *stages: str, python: Container[str] = ()) -> Iterator[Any]:
    """Each case once for each of these stages that its check belongs to, as a parameter with a telling id.

    The checks in ``python`` are in no file; they belong to every stage that is asked for.
    """
    for case in cases:
        for stage in stages:
            if stage in case.stages and (case.check in names(stage) or case.check in python):
                marks = [pytest.mark.claim(*_claims(case, stage)), *([pytest.mark.pg(case.pg)] if case.pg else [])]
                yield pytest.param(case, stage, id=f"{case.check}, {case.title}, {stage}", marks=marks)


def _claims(case: Case, stage: str) -> tuple[str, ...]:
    if stage == "verify":
        return ("verify-finds-violations",)
    return ("preflight-refuses" if case.level == ERROR else "preflight-warns", *_ALSO.get(case.check, ()))


def names(stage: str) -> set[str]:
    """The checks of a stage."""
    return {section.name for section in checks(stage)}


@contextmanager
def workbench(templates: Templates, kind: str) -> Iterator[Workbench]:
    """A database of that kind to do things to; with it goes the role, if there was one."""
    bench = Workbench(templates.clone(kind))
    try:
        yield bench
    finally:
        bench.close()


class Workbench:
    """A database, what is done to it, and what a check finds in it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.role = f"{database.name}_role"
        self._has_role = False
        self._watcher: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        self.database.drop()
        if self._has_role:
            with closing(self.database.server.connect()) as connection:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(self.role)))

    def do(self, change: Change) -> None:
        """Does it."""
        if callable(change):
            change(self.database)
        elif change:
            if "{role}" in change and not self._has_role:
                self._has_role = True
                self.database.execute(f'CREATE ROLE "{self.role}"')
            self.database.execute(
                change.replace("{role}", f'"{self.role}"')
                .replace("{database}", f'"{self.database.name}"')
                .replace("{superuser}", f'"{self.database.server.user}"')
            )

    def findings(self, check: str, stage: str, user: str | None, options: Iterable[str] = ()) -> list[Finding]:
        """What this check finds at this stage of a run with these options."""
        parsed = parse([*options, *(["--rollback"] if stage == "rollback" else [])])
        # A session of its own: a setting of the database or the role holds from the next session on.
        with closing(self.database.connect(user)) as connection:
            begin_reading(connection, parsed.lock_timeout)
            try:
                return ask(connection, inspect(connection, parsed), stage, only=check)
            except Untrusted as problem:
                # Nothing else is asked then.
                return [finding for finding in problem.findings if finding.check == check]

    def state(self) -> tuple[Any, Any, list[Any]]:
        """Every object of the database, every row with the transaction that wrote it, and every setting."""
        if self._watcher is None:
            # One session for all: what a new one has to read of the catalog takes longer than the comparison.
            self._watcher = self.database.connect()
        settings = self._watcher.execute(
            "SELECT setrole::regrole::text, setconfig FROM pg_db_role_setting AS s"
            " JOIN pg_database AS d ON d.oid = s.setdatabase WHERE d.datname = current_database() ORDER BY 1, 2"
        ).fetchall()
        return fingerprint(self._watcher), self.database.rows_with_xmin(), settings

    def mend(self, case: Case, findings: Iterable[Finding]) -> tuple[str, ...]:
        """Does what the findings propose; the answer is the options that the next run is given."""
        options: list[str] = []
        statements: dict[str, None] = {}
        again = False
        for finding in findings:
            proposed = re.search(case.mended_by, finding.action)
            assert proposed, f"{case.mended_by!r} is not in the action: {finding.action}"
            if "run the migration again" in finding.action:
                again = True
            if case.by_hand or case.options_by_hand is not None or proposed[0].startswith("run "):
                continue
            if proposed[0].startswith("--"):
                options += shlex.split(proposed[0].replace("ACTUAL", "received_at"))
            else:
                # One by one, since some cannot be in a transaction with others.
                statements.update(dict.fromkeys(proposed[0].split("; ")))
        for statement in statements:
            self.database.execute(statement)
        self.do(case.by_hand)
        if again:
            result = run("--dsn", self.database.owner_dsn, "--force", *options)
            assert result.status == DONE, result.err
        return tuple(options) or case.options_by_hand or case.options
