"""The log: ``public.migration_log``, what it says was done and still stands, and writing to it."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping, NamedTuple, Set

import psycopg

from phase_1.connection import value
from phase_1.scripts import ROLLBACK, SCHEMA, literal
from phase_1.scripts import read as sections

PHASE = "phase_1"


#: The runs as a whole; every other operation is a step.
_RUNS = ("migrate", "rollback")


class Logged(NamedTuple):
    """What the log says of Phase 1; all of it is empty where nothing stands."""

    #: The details of each step that was done and has not been undone since, by its label.
    standing: Dict[str, Dict[str, Any]]
    #: The run that was begun last, if it was not completed.
    unfinished: str
    #: The labels of the steps since the last run that was completed.
    begun: Set[str]
    #: The id of the default organization.
    default_organization: str


def read(connection: psycopg.Connection[Any], is_there: bool) -> Logged:
    """What Phase 1 did and has not undone since.

    Empty when there is no log that may be read, or one of another shape (which preflight tells). An index that was
    built CONCURRENTLY counts from the moment the build started, since no transaction ties it to its entry. What others
    have noted under the same phase, of no step or in no object, is none of it.
    """
    standing: Dict[str, Dict[str, Any]] = {}
    begun: Set[str] = set()
    unfinished = default_organization = ""
    if not (is_there and is_readable(connection)):
        return Logged(standing, unfinished, begun, default_organization)
    for operation, status, details in connection.execute(
        "SELECT operation, status, details FROM public.migration_log"
        " WHERE phase = %s AND split_part(operation, '(', 1) = ANY (%s) AND jsonb_typeof(details) = 'object'"
        " AND (status = 'completed' OR operation = ANY (%s)"
        "     OR status = 'started' AND details ? 'outside_transaction') ORDER BY id",
        [PHASE, [*_RUNS, *(section.name for file in (SCHEMA, ROLLBACK) for section in sections(file))], list(_RUNS)],
    ):
        if operation in _RUNS:
            unfinished = "" if status == "completed" else operation
            default_organization = details.get("default_organization", default_organization)
            if status == "completed":
                begun.clear()
            if (operation, status) == ("rollback", "completed"):
                standing.clear()
                default_organization = ""
        elif "undoes" in details:
            if status == "completed":
                for label in details["undoes"]:
                    standing.pop(label, None)
                    begun.discard(label)
        elif status == "completed" or operation not in standing:
            standing[operation] = details
            begun.add(operation)
    return Logged(standing, unfinished, begun, default_organization)


def last_migration(connection: psycopg.Connection[Any]) -> Dict[str, Any]:
    """What the last completed migration was told, by its entry; empty where a rollback has followed it.

    For a log that has entries, so that it is known to be readable.
    """
    row = connection.execute(
        "SELECT operation, details FROM public.migration_log"
        " WHERE phase = %s AND status = 'completed' AND operation = ANY (%s) AND jsonb_typeof(details) = 'object'"
        " ORDER BY id DESC LIMIT 1",
        [PHASE, list(_RUNS)],
    ).fetchone()
    return dict(row[1]) if row and row[0] == "migrate" else {}


def is_readable(connection: psycopg.Connection[Any]) -> bool:
    """Whether there is a log with the columns of ours."""
    return bool(
        value(
            connection,
            "SELECT count(*) = 5 FROM pg_catalog.pg_attribute"
            " WHERE attrelid = to_regclass('public.migration_log')"
            " AND (attname IN ('id', 'phase', 'operation', 'status')"
            "     OR attname = 'details' AND atttypid = 'jsonb'::regtype)",
        )
    )


def entry(operation: str, status: str, details: Mapping[str, Any]) -> str:
    """The statement that writes an entry over the runner's other connection."""
    return (
        "INSERT INTO public.migration_log (phase, operation, status, details) VALUES "
        f"({literal(PHASE)}, {literal(operation)}, {literal(status)}, {literal(as_json(details))})"
    )


def as_json(details: Mapping[str, Any]) -> str:
    """Details as they stand in a statement: the same text for the same details."""
    # jsonb cannot hold a NUL character.
    return json.dumps(details, ensure_ascii=False, default=str).replace("\\u0000", "")
