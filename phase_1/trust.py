"""Whose objects they are: decided in the catalog, before anything of them is read, adopted or written.

PostgreSQL runs what hangs on a table with the rights of whoever uses the table. A role that may only create in schema
public could get the rights of whoever migrates in this way. A table is trusted if its owner has the rights of the
owner of ``public.users``, and so is code, unless a superuser has logged in: then it has to be a superuser's.
"""

from __future__ import annotations

from typing import Any, FrozenSet, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import psycopg

from phase_1.connection import value
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

#: The tables at stake, with their partitions and heirs in whatever schema, by oid.
_AT_STAKE = """(
    WITH RECURSIVE tree (oid, table_name, is_ours, is_updated) AS (
        SELECT to_regclass(name)::oid, table_name, is_ours::boolean, is_updated::boolean
        FROM {given} AS given (name, table_name, is_ours, is_updated)
        WHERE to_regclass(name) IS NOT NULL
        UNION
        SELECT i.inhrelid, tree.table_name, tree.is_ours, tree.is_updated
        FROM tree JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.oid
    )
    SELECT * FROM tree)"""


class AtStake(NamedTuple):
    """A table that is read or written."""

    #: As it stands in SQL, with its schema.
    qualified: str
    #: The tenant table that it is, or ``""``.
    table: str
    #: Whether it is one that Phase 1 creates: it is written in every way.
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
        "trusted_with_code": f"coalesce({_A_SUPERUSER.format(rights=rights)}, {_OWNER_OF_USERS})",
    }


def require_names(connection: psycopg.Connection[Any]) -> None:
    """Raises Untrusted unless everything under a name of Phase 1 is of somebody who may do as much anyway."""
    values: Mapping[str, Value] = {
        "names": rows([(literal(name),) for name in NEW_TABLES]),
        "functions": rows([(literal(name),) for name, _ in FUNCTIONS]),
        "tenants": rows([(literal(table.name),) for table in TABLES]),
    }
    _require(connection, "names", values, [AtStake(f"public.{name}", "", True, True) for name in NEW_TABLES])


def hold_names(connection: psycopg.Connection[Any]) -> FrozenSet[str]:
    """The tables of Phase 1 that are there, locked against a change of their names until the transaction ends.

    Raises Untrusted as above: between a look and a lock another one may have taken the name. What is not there now is
    not to be read in this transaction.
    """
    require_names(connection)
    there = frozenset(
        name for name in NEW_TABLES if value(connection, "SELECT to_regclass(%s)", [f"public.{name}"]) is not None
    )
    if there:
        tables = ", ".join(f"public.{identifier(name)}" for name in sorted(there))
        connection.execute(f"LOCK TABLE {tables} IN ACCESS SHARE MODE".encode())
        require_names(connection)
    return there


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
        yield literal(each.qualified), literal(each.table), str(each.is_ours).upper(), str(each.is_updated).upper()
