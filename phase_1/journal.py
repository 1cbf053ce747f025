"""The log: ``public.migration_log``, what it says was done and still stands, and writing to it."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping

import psycopg

from phase_1.scripts import literal

PHASE = "phase_1"


def standing(connection: psycopg.Connection[Any]) -> Dict[str, Dict[str, Any]]:
    """What Phase 1 did and has not undone since: the details of each operation, by its label.

    Empty when there is no log, or one of another shape (which preflight tells). An index that was built
    CONCURRENTLY counts from the moment the build started, since no transaction ties it to its entry.
    """
    readable = connection.execute(
        "SELECT count(*) = 5 FROM pg_catalog.pg_attribute"
        " WHERE attrelid = to_regclass('public.migration_log')"
        " AND attname IN ('id', 'phase', 'operation', 'status', 'details')"
    ).fetchone()
    done: Dict[str, Dict[str, Any]] = {}
    if readable is None or not readable[0]:
        return done
    for operation, status, details in connection.execute(
        "SELECT operation, status, details FROM public.migration_log"
        " WHERE phase = %s AND (status = 'completed' OR status = 'started' AND details ? 'outside_transaction')"
        " ORDER BY id",
        [PHASE],
    ):
        if "undoes" in details:
            if status == "completed":
                for label in details["undoes"]:
                    done.pop(label, None)
        elif operation == "rollback":
            done.clear()
        elif (operation != "migrate" and status == "completed") or operation not in done:
            done[operation] = details
    done.pop("migrate", None)
    return done


def entry(operation: str, status: str, details: Mapping[str, Any]) -> str:
    """The statement that writes an entry over the runner's other connection."""
    return (
        "INSERT INTO public.migration_log (phase, operation, status, details) VALUES "
        f"({literal(PHASE)}, {literal(operation)}, {literal(status)}, {literal(as_json(details))})"
    )


def as_json(details: Mapping[str, Any]) -> str:
    """Details as they stand in a statement: the same text for the same details."""
    # jsonb cannot hold a NUL character.
    return json.dumps(details, ensure_ascii=False, sort_keys=True, default=str).replace("\\u0000", "")
