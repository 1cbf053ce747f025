"""Whose objects they are: decided in the catalog, before anything of them is read, adopted or written.

PostgreSQL runs what hangs on a table with the rights of whoever uses the table. A role that may only create in schema
public could get the rights of whoever migrates in this way. A table is trusted if its owner has the rights of the
owner of ``public.users``, and so is code, unless a superuser has logged in: then it has to be a superuser's.
"""

from __future__ import annotations

from typing import Any, FrozenSet, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import psycopg

from phase_1.findings import Finding, ask_all
from phase_1.inventory import FUNCTIONS, NEW_TABLES, TABLES
from phase_1.problems import Refused
from phase_1.scripts import Value, checks, identifier, literal, rows

# Where there is no such table, nobody owns more than who looks.
_OWNER_OF_USERS = (
    "coalesce((SELECT relowner FROM pg_catalog.pg_class WHERE oid = to_regclass('public.users')),"
    " (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))"
)
# Who can become a superuser is one.
_A_SUPERUSER = (
    "(SELECT min(oid) FROM pg_catalog.pg_roles WHERE rolsuper AND pg_catalog.pg_has_role(session_user, oid, {rights}))"
)

# Functions of PostgreSQL itself that run any query, read files, change settings, or call the input function of a type,
# which may be a domain with a check of somebody's: p is the one of pg_proc.
_POWERFUL = (
    "(p.proname ~ '_to_xml|^pg_input_'"
    " OR ARRAY['pg_catalog.cstring'::pg_catalog.regtype, 'pg_catalog.internal'::pg_catalog.regtype]::pg_catalog.oid[]"
    " && p.proargtypes::pg_catalog.oid[]"
    " OR p.provolatile = 'v' AND p.proname NOT IN ('clock_timestamp', 'currval', 'gen_random_uuid', 'lastval',"
    " 'nextval', 'random', 'timeofday', 'uuidv4', 'uuidv7'))"
)

#: The tables at stake, with their partitions and heirs in whatever schema, by oid.
_AT_STAKE = """(
    WITH RECURSIVE tree (oid, table_name, is_ours, is_updated) AS (
        SELECT oid::oid, table_name, is_ours::boolean, is_updated::boolean
        FROM {given} AS given (oid, table_name, is_ours, is_updated)
        WHERE oid IS NOT NULL
        UNION
        SELECT i.inhrelid, tree.table_name, tree.is_ours, tree.is_updated
        FROM tree JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.oid
    )
    SELECT * FROM tree)"""


class AtStake(NamedTuple):
    """A table that is read or written."""

    #: SQL for its oid.
    oid: str
    #: The tenant table that it is, or ``""``.
    table: str
    #: Whether it is one that Phase 1 creates, and rows of it are inserted and deleted.
    is_ours: bool
    #: Whether the run updates rows of it.
    is_updated: bool


class Untrusted(Refused):
    """Objects of others are in the way; nothing of them was read."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.summary = (
            "refused: what belongs to other roles would run with the rights of this one. Nothing of theirs was read, "
            "and nothing was touched."
        )
        super().__init__(f"{self.summary} {'; '.join(map(str, findings))}")
        self.findings = list(findings)


def roles(version: int) -> Mapping[str, Value]:
    """The placeholders for the roles whose rights are asked for, as SQL, and for what it is to have them.

    ``owner_of_users`` is for tables. ``trusted_with_code`` is for code: what a superuser runs has to be a superuser's.
    """
    # Since PostgreSQL 16 a membership may give nothing at all.
    rights = "'USAGE, SET, MEMBER WITH ADMIN OPTION'" if version >= 160000 else "'MEMBER'"
    return {
        "rights": rights,
        "owner_of_users": _OWNER_OF_USERS,
        "powerful": _POWERFUL,
        "trusted_with_code": f"coalesce({_A_SUPERUSER.format(rights=rights)}, {_OWNER_OF_USERS})",
    }


def hold(connection: psycopg.Connection[Any], names: Sequence[str]) -> None:
    """Begins what is to be read: the tables of these names in public are locked before the transaction has a snapshot.

    What gets one of the names later is not in the snapshot, and what has one keeps it until the transaction ends.
    """
    if names:
        # ONLY: up to PostgreSQL 12 a lock asks for rights on every heir.
        tables = ", ".join(f"ONLY public.{identifier(name)}" for name in names)
        connection.execute(f"LOCK TABLE {tables} IN ACCESS SHARE MODE".encode())


def names_there(connection: psycopg.Connection[Any]) -> Sequence[str]:
    """The names of Phase 1 under which there is a table that may be read; asked before a transaction begins."""
    return [
        name
        for (name,) in connection.execute(
            "SELECT c.relname::text FROM pg_catalog.pg_class AS c"
            " WHERE c.oid = ANY (ARRAY(SELECT to_regclass('public.' || name) FROM unnest(%s::text[]) AS name)::oid[])"
            " AND c.relkind = 'r' AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1",
            [list(NEW_TABLES)],
        )
    ]


def held(connection: psycopg.Connection[Any]) -> FrozenSet[str]:
    """The tables of Phase 1 that this transaction has locked, and that are what their names are for."""
    return frozenset(
        name
        for (name,) in connection.execute(
            "SELECT c.relname::text FROM pg_catalog.pg_locks AS l"
            " JOIN pg_catalog.pg_class AS c ON c.oid = l.relation AND c.oid = to_regclass('public.' || c.relname)"
            " WHERE l.pid = pg_backend_pid() AND l.mode = 'AccessShareLock' AND l.granted AND c.relname = ANY (%s)"
            " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())",
            [list(NEW_TABLES)],
        )
    )


def require_names(connection: psycopg.Connection[Any], *, writes: bool, reads_only: bool = False) -> None:
    """Raises Untrusted unless everything under a name of Phase 1 is of somebody who may do as much anyway.

    ``writes`` says that rows of these tables are written. Who ``reads_only`` need not have the rights of the owner.
    """
    values: Mapping[str, Value] = {
        "names": rows([(literal(name),) for name in NEW_TABLES]),
        "functions": rows([(literal(name),) for name, _ in FUNCTIONS]),
        "tenants": rows([(literal(table.name),) for table in TABLES]),
        "rights_needed": "FALSE" if reads_only else "TRUE",
    }
    at_stake = [AtStake(f"to_regclass({literal(f'public.{name}')})", "", writes, False) for name in NEW_TABLES]
    _require(connection, "names", values, at_stake)


def require_tables(connection: psycopg.Connection[Any], tables: Sequence[AtStake]) -> None:
    """Raises Untrusted unless these tables, and all that runs when they are used, are of such a one."""
    if tables:
        _require(connection, "tables", {}, tables)


def _require(
    connection: psycopg.Connection[Any], stage: str, values: Mapping[str, Value], at_stake: Sequence[AtStake]
) -> None:
    given = _AT_STAKE.format(given=rows(list(_as_rows(at_stake))))
    filled = {**values, **roles(connection.info.server_version), "at_stake": given}
    asked = [
        (section, section.render(filled)[0].rstrip(";"))
        for section in checks("trust")
        if stage in section.names("stage")
    ]
    findings: List[Finding] = ask_all(connection, asked)
    if findings:
        raise Untrusted(findings)


def _as_rows(at_stake: Sequence[AtStake]) -> Iterator[Tuple[str, ...]]:
    for each in at_stake:
        yield each.oid, literal(each.table), str(each.is_ours).upper(), str(each.is_updated).upper()
