"""Whose objects they are: decided in the catalog, before anything of them is read, adopted or written."""

from __future__ import annotations

from typing import Any, Iterator, List, Mapping, Sequence, Tuple

import psycopg

from phase_1.findings import Finding, ask_all
from phase_1.inventory import FUNCTIONS, NEW_TABLES
from phase_1.problems import Refused
from phase_1.scripts import Value, literal, read, rows

FILE = "phase_1_trust.sql"

# Where there is no such table, nobody owns more than who looks.
_OWNER_OF_USERS = (
    "coalesce((SELECT relowner FROM pg_catalog.pg_class WHERE oid = to_regclass('public.users')),"
    " (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))"
)

#: The roles whose rights are asked for, as SQL: of whoever owns a table, and of whoever owns code. What a superuser
#: runs has to be a superuser's: the owner of the tables is none.
ROLES: Mapping[str, Value] = {
    "owner_of_users": _OWNER_OF_USERS,
    "trusted_with_code": "coalesce((SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user AND rolsuper),"
    f" {_OWNER_OF_USERS})",
}

#: A table, the tenant table that it is a part of, whether Phase 1 creates it, and whether the run updates its rows.
AtStake = Tuple[str, str, bool, bool]


class Untrusted(Refused):
    """Objects of others are in the way; nothing of them was read."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.summary = (
            "refused: what belongs to other roles would run with the rights of this one. Nothing of theirs was read, "
            "and nothing was touched."
        )
        super().__init__(f"{self.summary} {'; '.join(map(str, findings))}")
        self.findings = list(findings)


def require_names(connection: psycopg.Connection[Any]) -> None:
    """Raises Untrusted unless everything under a name of Phase 1 is of somebody who may do as much anyway."""
    values: Mapping[str, Value] = {
        "names": rows([(literal(name),) for name in NEW_TABLES]),
        "functions": rows([(literal(name),) for name, _ in FUNCTIONS]),
    }
    _require(connection, "names", values, [(name, name, True, True) for name in NEW_TABLES])


def require_tables(connection: psycopg.Connection[Any], tables: Sequence[AtStake]) -> None:
    """Raises Untrusted unless these tables, and all that runs when they are used, are of such a one."""
    if tables:
        _require(connection, "tables", {}, tables)


def _require(
    connection: psycopg.Connection[Any], stage: str, values: Mapping[str, Value], at_stake: Sequence[AtStake]
) -> None:
    filled = {**values, **ROLES, "at_stake": rows(list(_as_rows(at_stake)))}
    asked = [
        (section, section.render(filled)[0].rstrip(";")) for section in read(FILE) if stage in section.names("stage")
    ]
    findings: List[Finding] = ask_all(connection, asked)
    if findings:
        raise Untrusted(findings)


def _as_rows(at_stake: Sequence[AtStake]) -> Iterator[Tuple[str, ...]]:
    for name, table, is_ours, is_updated in at_stake:
        yield literal(name), literal(table), str(is_ours).upper(), str(is_updated).upper()
