"""Checking it: the checks of ``sql/``, the integrity function, index use and the performance baseline."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional

import psycopg
from psycopg import errors

from phase_1 import scripts
from phase_1.connection import Session, value
from phase_1.findings import ERROR, NOTICE, Finding, ask_all
from phase_1.found import Found
from phase_1.inventory import TABLES, TIME
from phase_1.scripts import SCHEMA, Section, Value, literal, read
from phase_1.shown import stored_reason

#: What keeps a check from being run: it is then a finding, and not passed. A column that is not there or
#: of another type is what another check is about.
_CANNOT_BE_RUN = (
    errors.InsufficientPrivilege,
    errors.LockNotAvailable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.UndefinedTable,
)

#: How often it is looked for the mode of a pooler, and after what pause, so that it has made its last move.
_POOLER_ROUNDS, _POOLER_SECONDS = 3, 0.02

#: What keeps the planner from an index that could serve, where the role or the database has turned it off.
_INDEX_SCANS = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")

_FUNCTION = "public.validate_client_data_integrity()"

_FOLDERS = ("preflight", "verify")


@dataclass(frozen=True)
class Measured:
    """A client-scoped query as it ran: milliseconds, 8 kB pages, and the indexes that can serve it."""

    query: str
    index: str
    milliseconds: float
    buffers: int
    rows: int
    served_by: List[str]


@dataclass(frozen=True)
class Report:
    """What the checks found after a migration."""

    findings: List[Finding] = field(default_factory=list)
    integrity: Optional[Dict[str, Any]] = None
    baseline: List[Measured] = field(default_factory=list)

    @property
    def violations(self) -> List[Finding]:
        """The findings that are errors."""
        return [finding for finding in self.findings if finding.level == ERROR]

    def as_dict(self) -> Dict[str, Any]:
        """The report for the log and for ``--json``."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "integrity": self.integrity,
            "baseline": [asdict(measured) for measured in self.baseline],
        }


def pooler(one: Session, other: Session) -> List[Finding]:
    """Whether a pooler hands the two sessions their server processes anew for each transaction."""
    # Each is asked twice in a row, so that none that hands them out in turns looks like a server.
    turns = [one, other, other, one]
    pause = 0.0
    if any(session.info.backend_pid != session.process for session in turns):
        # There is a pooler, in whichever mode. One at work may not have got back yet what a session has left, and
        # hand out the right one by chance: it is given time, and asked more than once.
        turns *= _POOLER_ROUNDS
        pause = _POOLER_SECONDS
    seen = set()
    for session in turns:
        time.sleep(pause)
        seen.add((session, value(session, "SELECT pg_catalog.pg_backend_pid()")))
    if len(seen) == len({pid for _, pid in seen}) == 2:
        return []
    return [
        Finding(
            "no_transaction_pooler",
            ERROR,
            "connection",
            "goes through a pooler in transaction mode: locks and settings of a session do not hold there",
            "connect to the server itself, or to the pooler's session mode (on Supabase port 5432, not 6543)",
        )
    ]


def checks(stage: str) -> List[Section]:
    """The checks of a stage: ``preflight``, ``verify`` or ``rollback``."""
    return [each for folder in _FOLDERS for each in scripts.checks(folder) if stage in each.names("stage")]


def ask(connection: psycopg.Connection[Any], found: Found, stage: str, only: Optional[str] = None) -> List[Finding]:
    """Runs the checks of a stage, or one of them, in a transaction that ``begin_reading`` started.

    A check that the role may not run is a finding of its own: nobody takes it for passed.
    """
    asked = [
        (section, section.render(found.values(**values))[0].rstrip(";"))
        for section in checks(stage)
        if only in (None, section.name)
        for values in found.targets(section.header("each") or "run")
    ]
    try:
        # A savepoint: where one of them cannot be run, each is run for itself.
        with connection.transaction():
            return ask_all(connection, asked)
    except _CANNOT_BE_RUN:
        return [finding for section, query in asked for finding in _ask_one(connection, section, query)]


def _ask_one(connection: psycopg.Connection[Any], section: Section, query: str) -> Iterator[Finding]:
    try:
        with connection.transaction():
            yield from ask_all(connection, [(section, query)])
    except _CANNOT_BE_RUN as error:
        yield Finding(
            section.name,
            ERROR,
            f"check {section.name}",
            f"could not be run: {stored_reason(error)}",
            "run it as the owner of the tables, while nobody holds a lock on them",
        )


def _integrity(connection: psycopg.Connection[Any], found: Found) -> Dict[str, Any]:
    """What the integrity function says, without calling it.

    It may have been replaced, and whoever owns it would have the rights of whoever verifies. What it was made from is
    run instead.
    """
    [section] = [section for section in read(SCHEMA) if section.name == "create_validate_client_data_integrity"]
    _, body, _ = section.render(found.values())[0].split("$function$")
    # A DO block returns nothing: what it has to say is left in a setting of the transaction.
    keeping = r"PERFORM pg_catalog.set_config('phase_1.integrity', (\1)::pg_catalog.text, TRUE);\n\2"
    block = re.sub(r"RETURN (.*);\n(END;\n)$", keeping, body, flags=re.DOTALL)
    connection.execute(f"DO $function${block}$function$".encode())
    result: Dict[str, Any] = value(connection, "SELECT pg_catalog.current_setting('phase_1.integrity')::jsonb")
    return result


def _disagreements(result: Mapping[str, Any]) -> Iterator[Finding]:
    for table, counts in result.get("tables", {}).items():
        for kind, problem in (
            ("without_client", "rows have no client"),
            ("unknown_client", "rows point to an organization that does not exist"),
            (
                "disagreeing",
                "rows belong to another client than what they belong to (their upload, their membership)",
            ),
        ):
            if counts[kind]:
                yield Finding(
                    "validate_client_data_integrity",
                    ERROR,
                    f"public.{table}",
                    f"{counts[kind]} {problem}",
                    "see who wrote them, and correct client_id",
                )


def _unseen(connection: psycopg.Connection[Any], found: Found) -> Iterator[Finding]:
    """The tables with a client that the function does not look at, and those that it looks at and that are gone."""
    source = value(connection, "SELECT prosrc FROM pg_catalog.pg_proc WHERE oid = to_regprocedure(%s)", [_FUNCTION])
    if source is None:
        return
    for table in found.checked:
        if table.client_id and literal(table.name) not in source:
            yield Finding(
                "validate_client_data_integrity",
                ERROR,
                f"public.{table.name}",
                "is not looked at by validate_client_data_integrity(), which was made before the table had a client",
                "run the migration again: it makes the function anew",
            )
    there = {table.name for table in found.checked}
    for name in (table.name for table in TABLES if table.name not in there and literal(table.name) in source):
        yield Finding(
            "validate_client_data_integrity",
            ERROR,
            f"public.{name}",
            "is not there any more, and validate_client_data_integrity() fails where it looks at it",
            "give the table its name back; or drop the function and run the migration again, which makes it anew: "
            f"DROP FUNCTION {_FUNCTION}",
        )


def report(connection: psycopg.Connection[Any], found: Found) -> Report:
    """Every check after a migration, in a transaction that ``begin_reading`` started."""
    findings = ask(connection, found, "verify")
    result: Optional[Dict[str, Any]] = None
    broken = {finding.check for finding in findings if finding.level == ERROR}
    # Without the tables there is nothing to ask.
    if "new_objects_are_there" not in broken and found.memberships:
        try:
            with connection.transaction():
                result = _integrity(connection, found)
            findings += [*_disagreements(result), *_unseen(connection, found)]
        except psycopg.Error as error:
            findings.append(
                Finding(
                    "validate_client_data_integrity",
                    ERROR,
                    "rows of the tenant tables",
                    f"could not be checked: {stored_reason(error)}",
                    "run it as the owner of the tables",
                )
            )
    measured: List[Measured] = []
    # Without the columns the queries have nothing to run on.
    if not broken & {"client_id_is_required_and_has_its_default", "new_objects_are_there"}:
        measured = list(baseline(connection, found))
        findings += _unserved(measured)
    return Report(findings, result, measured)


def _unserved(measured: List[Measured]) -> Iterator[Finding]:
    for each in measured:
        if not each.served_by:
            yield Finding(
                "index_serves_its_query",
                ERROR,
                f"public.{each.index}",
                f"does not serve the query {each.query}, not even with sequential scans off",
                "see EXPLAIN of that query in sql/queries.sql, and REINDEX the index if it is damaged",
            )
        elif each.index not in each.served_by:
            yield Finding(
                "index_serves_its_query",
                NOTICE,
                f"public.{each.index}",
                f"is not what the planner takes for the query {each.query}, but {', '.join(each.served_by)}",
                "nothing to do; with many clients either may serve",
            )


def queries(found: Found) -> Iterator[Section]:
    """The client-scoped queries whose index is wanted on this database."""
    wanted = {index.name for index in found.indexes}
    for section in read("queries.sql"):
        if section.header("index") in wanted:
            yield section


def bind(connection: psycopg.Connection[Any], found: Found, section: Section, client: str) -> Optional[str]:
    """A client-scoped query with its sample values, or None if the client has no row to take them from."""
    index = next(index for index in found.indexes if index.name == section.header("index"))
    time = found.table_of(index).time_column or TIME
    values: Dict[str, Value] = dict(found.values(client_id=client, time_column=time))
    if section.header("sample"):
        cursor = connection.execute(section.render_header("sample", values))
        row = cursor.fetchone()
        if row is None:
            return None
        values.update({column.name: str(value) for column, value in zip(cursor.description or (), row)})
    return section.render(values)[0].rstrip(";")


def baseline(connection: psycopg.Connection[Any], found: Found) -> Iterator[Measured]:
    """Runs each client-scoped query for the default organization: time, pages, and the index it can use.

    Whether an index *can* serve it is asked with sequential scans off: on a table of a few pages the
    planner is right to read them all. Where the application has an index of its own on the same column,
    and one client owns every row, the planner may well prefer that one: it is smaller.
    """
    bound = [(section, bind(connection, found, section, found.default_organization)) for section in queries(found)]
    sections = [(section, query) for section, query in bound if query is not None]
    parts = {part: whole for table in found.tables for each in table.partitions for part, whole in each.indexes}
    connection.execute(f"SET LOCAL enable_seqscan = off; SET LOCAL {' = on; SET LOCAL '.join(_INDEX_SCANS)} = on")
    plans = [explain(connection, query) for _, query in sections]
    # As the application runs them.
    connection.execute(f"RESET enable_seqscan; RESET jit; RESET {'; RESET '.join(_INDEX_SCANS)}")
    for (section, query), plan in zip(sections, plans):
        measured = explain(connection, query, analyze=True)
        root = measured["Plan"]
        yield Measured(
            query=section.name,
            index=section.header("index"),
            milliseconds=round(measured["Execution Time"], 3),
            buffers=root["Shared Hit Blocks"] + root["Shared Read Blocks"],
            rows=root["Actual Rows"],
            # An index of a partition stands for that of its table.
            served_by=list(dict.fromkeys(parts.get(name, name) for name in index_names(plan["Plan"]))),
        )


def explain(connection: psycopg.Connection[Any], query: str, analyze: bool = False) -> Dict[str, Any]:
    """EXPLAIN of a query as PostgreSQL's JSON; with ``analyze`` the query runs, with its buffers."""
    settings = "ANALYZE, BUFFERS, " if analyze else ""
    [explained] = value(connection, f"EXPLAIN ({settings}FORMAT JSON) {query}")
    return dict(explained)


def index_names(node: Mapping[str, Any]) -> List[str]:
    """The indexes that a plan uses, from the root of it down."""
    names = [node["Index Name"]] if "Index Name" in node else []
    for child in node.get("Plans", []):
        names += index_names(child)
    return names
