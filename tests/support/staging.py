"""A staging database, looked at: by sessions that only read, as a role that may do no more than that."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from phase_1.connection import close, connect, describe, redact, where
from phase_1.findings import ERROR, Finding
from phase_1.fingerprint import Fingerprint, fingerprint
from phase_1.found import begin_reading, inspect
from phase_1.inventory import FUNCTIONS, NEW_TABLES, TABLES
from phase_1.options import Options, parse
from phase_1.plan import quoted
from phase_1.problems import ConnectionProblem, Problem, UsageProblem
from phase_1.scripts import identifier
from phase_1.shown import printable
from phase_1.verify import ask

NOT_MIGRATED, MIGRATED = "not migrated", "migrated"

APPLICATION_NAME = "phase_1_staging"

#: A row counted takes about 0.1 µs: a query that is at work for so long has gone wrong.
_STATEMENT_TIMEOUT = "15min"
_LOCK_TIMEOUT = 1000  # milliseconds; whoever works on staging goes first

#: Checks of the session that is to migrate rather than of the database; the rehearsal asks them.
_OF_THE_RUNNER = {
    "server_takes_writes",
    "role_owns_the_table",
    "role_may_create",
    "row_security_lets_the_owner_through",
    "uuids_can_be_generated",
}


def require_none(problems: list[str]) -> None:
    """Fails the test with the problems, a line each: who reads them needs no traceback."""
    if problems:
        pytest.fail("\n".join(map(printable, problems)), pytrace=False)


@dataclass(frozen=True)
class Snapshot:
    """The catalog, and for each table its rows by client (None where there is none)."""

    catalog: Fingerprint
    rows: Mapping[str, Mapping[str | None, int]]

    def count(self, table: str) -> int:
        """The rows of a table."""
        return sum(self.rows[table].values())

    def changed(self, after: Snapshot) -> list[str]:
        """The tables that do not have as many rows of each client afterwards."""
        return [name for name in sorted({*self.rows, *after.rows}) if self.rows.get(name) != after.rows.get(name)]


@dataclass(frozen=True)
class Client:
    """A client that has rows; ``size`` is ``largest``, ``median`` or ``smallest``."""

    size: str
    id: str
    rows: int


def given(dsn: str | None, environment: Mapping[str, str], options: str) -> tuple[str, Options]:
    """Where staging is, and how it will be migrated. Raises UsageError, without a password in it."""
    source = "--dsn" if dsn else "STAGING_DATABASE_URL"
    text = dsn or environment.get(source)
    if not text:
        raise pytest.UsageError(
            "-m staging looks at a staging database: give it with --dsn or in STAGING_DATABASE_URL. Nothing was run."
        )
    try:
        found = where(text, {})
        parsed = parse(shlex.split(options))
    except ConnectionProblem as problem:
        raise pytest.UsageError(str(problem).replace("--dsn", source, 1)) from None
    except (UsageProblem, ValueError) as problem:
        raise pytest.UsageError(f"--migrate-options: {problem}") from None
    if parsed.action != "migrate" or parsed.dry_run or parsed.dsn or parsed.json:
        raise pytest.UsageError("--migrate-options: those of a migration only, such as '--skip-table email_logs'")
    return found, parsed


class Staging:
    """The staging database.

    Raises UsageError where it cannot be reached, is too old, is not the application's, where the role does not
    see every row of its tables, or the session does not stay read only.
    """

    def __init__(self, dsn: str, options: Options) -> None:
        self._dsn = dsn
        self.options = options
        try:
            self._connection = connect(dsn, application_name=APPLICATION_NAME, options=self._session_options)
        except Problem as problem:
            raise pytest.UsageError(f"staging: {problem}") from None
        info = self._connection.info
        self.version_num = info.server_version
        self.version = (info.parameter_status("server_version") or "").partition(" ")[0]
        self.major = self.version_num // 10000
        try:
            self._begin()
            self._learn()
            self._connection.execute("ROLLBACK")
        except BaseException as error:
            self.close()
            if isinstance(error, (psycopg.Error, Problem)):
                raise pytest.UsageError(f"staging: {self.hide(' '.join(str(error).split()))}") from None
            raise

    def __repr__(self) -> str:
        return describe(self._dsn)

    @property
    def _session_options(self) -> str:
        own = conninfo.conninfo_to_dict(self._dsn).get("options") or ""
        return f"{own} -c default_transaction_read_only=on".strip()

    def _learn(self) -> None:
        connection = self._connection
        if self.value("SELECT current_setting('default_transaction_read_only')") != "on":
            raise pytest.UsageError(
                f"staging: the session on {self} does not stay read only. What to do: connect to the server itself, "
                "not to a pooler, which drops the settings of a session"
            )
        self.role = str(self.value("SELECT current_user"))
        self.tables = [table.name for table in TABLES if table.name not in self.options.skipped_tables]
        there = self._relations()
        self.out_of_sight = {name: action for name, action in there.items() if action}
        missing = [name for name in self.tables if f"public.{name}" not in there]
        if missing:
            skipping = " ".join(f"--skip-table {name}" for name in missing if name != "users")
            otherwise = f", or leave out on purpose: --migrate-options '{skipping}'" if "users" not in missing else ""
            raise pytest.UsageError(
                f"staging: {self} has no table {', '.join(f'public.{name}' for name in missing)}. What to do: name "
                f"the application's own database{otherwise}"
            )
        needed = [f"public.{name}" for name in (*self.tables, *NEW_TABLES)]
        unseen = {name: self.out_of_sight[name] for name in needed if name in self.out_of_sight}
        if unseen:
            raise pytest.UsageError(
                f"staging: {self.role} does not see every row of {', '.join(unseen)} ({self}). What to do: "
                + "; ".join(dict.fromkeys(unseen.values()))
            )
        self.found = inspect(connection, self.options, reads_only=True)
        functions = [f"public.{name}({arguments})" for name, arguments in FUNCTIONS]
        begun = self.value(
            "SELECT bool_or(to_regprocedure(name) IS NOT NULL) FROM unnest(%s::text[]) AS name", functions
        )
        self.state = MIGRATED if begun or self.found.standing else NOT_MIGRATED

    def close(self) -> None:
        """Ends the session."""
        close(self._connection)

    def _begin(self) -> None:
        begin_reading(self._connection, _LOCK_TIMEOUT)
        self._connection.execute(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'")

    @contextmanager
    def looking(self) -> Iterator[psycopg.Connection[Any]]:
        """A transaction that only reads, and sees every row or fails: what cannot be seen fails the test.

        It fails, too, where objects of others have come in the way since the last one: nothing of them is read.
        """
        try:
            self._begin()
            inspect(self._connection, self.options, reads_only=True)
            yield self._connection
        except Problem as problem:
            pytest.fail(f"could not be checked: {self.hide(str(problem))}", pytrace=False)
        except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege) as error:
            pytest.fail(f"could not be checked: {self.hide(' '.join(str(error).split()))}", pytrace=False)
        finally:
            if not self._connection.broken:
                self._connection.execute("ROLLBACK")

    def value(self, query: str, *parameters: Any) -> Any:
        """The first value of the first row, within :meth:`looking`."""
        row = self._connection.execute(query.encode(), parameters or None).fetchone()
        return row[0] if row else None

    def _relations(self) -> dict[str, str]:
        """Every table that is not PostgreSQL's own, with what to do so that the role sees all of its rows."""
        found = self._connection.execute(
            """
            SELECT format('%I.%I', n.nspname, c.relname), concat_ws('; ',
                CASE WHEN NOT allowed.usage THEN format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, current_user) END,
                CASE WHEN NOT allowed.reading
                    THEN format('GRANT SELECT ON %I.%I TO %I', n.nspname, c.relname, current_user) END,
                CASE WHEN allowed.usage AND allowed.reading AND row_security_active(c.oid)
                    THEN format('ALTER ROLE %I BYPASSRLS', current_user) END)
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            CROSS JOIN LATERAL (
                SELECT has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT')
            ) AS allowed (usage, reading)
            WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            ORDER BY 1
            """
        )
        return dict(found.fetchall())

    @property
    def unreadable(self) -> list[str]:
        """The tables that the role may not even lock; what is behind row-level security is not among them."""
        return [name for name, action in self.out_of_sight.items() if action.startswith("GRANT")]

    @property
    def cannot_see(self) -> list[dict[str, str]]:
        """What the role cannot see, and what would let it."""
        unseen = [{"what": f"the rows of {name}", "what to do": action} for name, action in self.out_of_sight.items()]
        if not self.value("SELECT pg_has_role('pg_read_all_stats', 'USAGE')"):
            action = f"GRANT pg_read_all_stats TO {identifier(self.role)}"
            unseen.append({"what": "how old the transactions of other roles are", "what to do": action})
        return unseen

    @property
    def rights(self) -> dict[str, Any]:
        """Who is looking, and what it could do that looking does not take."""
        [row] = self._connection.execute(
            "SELECT rolsuper, rolbypassrls, ARRAY(SELECT c.relname::text FROM pg_catalog.pg_class AS c"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
            " AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY 1)"
            " FROM pg_catalog.pg_roles WHERE rolname = current_user"
        ).fetchall()
        superuser, bypasses, writable = row
        return {
            "role": self.role,
            "superuser": superuser,
            "sees rows behind row-level security": superuser or bypasses,
            "could write, were its sessions not read only": quoted(writable) or "nothing",
        }

    def snapshot(self) -> Snapshot:
        """The catalog, and the rows of the tenant tables and of those of Phase 1."""
        rows: dict[str, dict[str | None, int]] = {}
        with self.looking() as connection:
            there = self._relations()
            for name in (*self.tables, *NEW_TABLES):
                if f"public.{name}" in there:
                    table = self.found.table(name)
                    client = "client_id::text" if table and table.client_id else "NULL"
                    query = f"SELECT {client}, count(*) FROM public.{name} GROUP BY 1"
                    rows[name] = dict(connection.execute(query.encode()).fetchall())
            return Snapshot(fingerprint(connection), rows)

    @cached_property
    def before(self) -> Snapshot:
        """The first snapshot, before anything else."""
        return self.snapshot()

    def clients(self) -> list[Client]:
        """The largest, the median and the smallest of the clients that have rows; each client once."""
        sizes: Counter[str] = Counter()
        for table in self.tables:
            sizes.update({client: rows for client, rows in self.before.rows[table].items() if client})
        ordered = sizes.most_common()
        places = {0: "largest", len(ordered) - 1: "smallest", len(ordered) // 2: "median"} if ordered else {}
        places |= {0: "largest"} if ordered else {}
        return [Client(places[place], *ordered[place]) for place in sorted(places)]

    def findings(self, stage: str) -> list[Finding]:
        """What the checks of a stage find, but for those about who runs them; fails where one could not be run."""
        with self.looking() as connection:
            findings = [each for each in ask(connection, self.found, stage) if each.check not in _OF_THE_RUNNER]
        unrun = [f"{each.check} ({each.problem})" for each in findings if each.problem.startswith("could not be run")]
        if unrun:
            pytest.fail(f"could not be checked: {', '.join(unrun)}", pytrace=False)
        return findings

    def check(self, stage: str, evidence: Callable[[str, Any], None]) -> list[str]:
        """Keeps what the checks of a stage find; returns the errors among it, in a sentence each."""
        findings = self.findings(stage)
        shown = [{"level": each.level, "check": each.check, "finding": str(each)} for each in findings]
        evidence("what the checks find", shown or "nothing")
        return [str(each) for each in findings if each.level == ERROR]

    def for_programs(self) -> tuple[str, dict[str, str]]:
        """For a program of PostgreSQL: the connection string without a secret, and the environment with it."""
        secret = ("password", "sslpassword", "options")
        parameters = {key: value for key, value in conninfo.conninfo_to_dict(self._dsn).items() if key not in secret}
        environment = {
            "PGPASSWORD": self._connection.info.password,
            "PGOPTIONS": self._session_options,
            "PGAPPNAME": APPLICATION_NAME,
        }
        return conninfo.make_conninfo("", **parameters), environment

    def hide(self, text: str) -> str:
        """The text without a password, on one line and printable."""
        return printable(redact(text, self._dsn))
