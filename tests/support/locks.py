"""The locks of a session on the tables of Phase 1, as another session sees them."""

from __future__ import annotations

import re
from typing import Any

import psycopg

from phase_1.inventory import NEW_TABLES, TABLES

#: From the weakest to the strongest, as PostgreSQL's manual lists them.
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
NAMES = [*(table.name for table in TABLES), *NEW_TABLES]
#: A join of the table, ``t``, that a relation is or is a partition of.
WITH_PARTITIONS = (
    "JOIN pg_class AS t ON t.oid = coalesce((SELECT inhparent FROM pg_inherits WHERE inhrelid = {0}), {0})"
    " AND t.relname = ANY (%s)"
)


def held(connection: psycopg.Connection[tuple[Any, ...]], pid: int) -> dict[str, str]:
    """The strongest lock on each table that another session holds."""
    found: dict[str, str] = {}
    for name, mode in connection.execute(
        f"SELECT t.relname, l.mode FROM pg_locks AS l {WITH_PARTITIONS.format('l.relation')}"
        " WHERE l.pid = %s AND l.granted",
        [NAMES, pid],
    ):
        words = re.sub(r"(?<!^)(?=[A-Z])", " ", mode.removesuffix("Lock")).upper()
        found[name] = max(found.get(name, MODES[0]), words, key=MODES.index)
    return found
