"""Rows for tables of any shape, made from their columns' types and the figures of their statistics.

No value comes from the database that the tables were taken from: from it come counts, widths and shares. The
server makes the values, by arithmetic on a row's number; a foreign key takes a row that was made before.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg

from phase_1.scripts import identifier

#: Longer values would be compressed and moved out of the row, which nobody's real ones are in this way.
_WIDEST = 1500
#: So few different values stay as many however few rows are made; more become fewer with the rows.
_FEW = 50
#: From such a correlation on the values come in the order of the rows.
_IN_ORDER = 0.9

#: For the number of a value, its SQL; ``{n}`` is the number, ``{text}`` a text of the column's width.
_RULES = {
    "bool": "{n} % 2 = 0",
    "int2": "{n} % 32767",
    "int4": "{n} % 2147483647",
    "int8": "{n}",
    "oid": "{n} % 2147483647",
    "float4": "{n}",
    "float8": "{n}",
    "money": "{n}",
    "uuid": "md5('{salt}' || {n})",
    "date": "date '2000-01-01' + ({n} % 36500)::integer",
    "timestamp": "timestamp '2020-01-01' + {n} * interval '1 second'",
    "timestamptz": "timestamptz '2020-01-01 00:00:00+00' + {n} * interval '1 second'",
    "time": "time '00:00' + ({n} % 86400) * interval '1 second'",
    "timetz": "timetz '00:00+00' + ({n} % 86400) * interval '1 second'",
    "interval": "({n} % 86400) * interval '1 second'",
    "json": "json_build_object('v', {text})",
    "jsonb": "jsonb_build_object('v', {text})",
    "bytea": "convert_to({text}, 'UTF8')",
    "inet": "inet '10.0.0.0' + ({n} % 16777216)",
    "tsvector": "''",
    "xml": "'<v/>'",
}


class NoRows(Exception):
    """Rows for a table cannot be made; the message names the column and its type."""


class Figures(NamedTuple):
    """What statistics say of a column; no value is among it. ``distinct`` below 0 is a share of the rows."""

    null_share: float = 0.0
    width: int = 12
    distinct: float = 100
    correlation: float | None = None


class _Column(NamedTuple):
    name: str
    type: str
    base: str  # the name of the type, of the one below a domain
    category: str
    kind: str
    size: int | None  # characters of varchar(n), digits before the point of numeric(p, s)
    required: bool
    has_default: bool
    unique: bool  # whether it is the column by which a key is unique: its value is that of the row's number
    parent: str | None  # the table that it refers to, and the column there, as they stand in SQL
    parent_column: str | None


@dataclass
class Filler:
    """Fills tables and what they refer to; triggers rest if the connection has ``session_replication_role = replica``.

    ``rows`` and ``real`` are by the name of the table, as it stands in SQL: how many to make, how many there are.
    """

    connection: psycopg.Connection[Any]
    rows: dict[str, int]
    real: Mapping[str, int]
    figures: Mapping[tuple[str, str], Figures]

    def __post_init__(self) -> None:
        self.made: dict[str, int] = {}
        self._share = min((rows / self.real[name] for name, rows in self.rows.items() if self.real[name]), default=1.0)

    def fill(self) -> dict[str, int]:
        """Fills them all and says how many rows each of them has got. Raises NoRows."""
        for name in list(self.rows):
            self._fill(name, 0)
        return self.made

    def _fill(self, name: str, at_least: int) -> None:
        if name in self.made:
            return
        self.made[name] = 0  # so that what refers to itself in a circle comes to an end
        columns = self._columns(name)
        rows = self.rows[name] if name in self.rows else max(1, round(self.real.get(name, 0) * self._share))
        rows = max(rows, at_least)
        parents = list(dict.fromkeys(column.parent for column in columns if column.parent))
        for parent in parents:
            one_each = any(column.unique for column in columns if column.parent == parent)
            self._fill(parent, rows if one_each else 0)
        values = {column.name: self._value(name, column, parents, rows) for column in columns}
        chosen = {column: value for column, value in values.items() if value is not None}
        joins = ""
        for place, parent in enumerate(parents):
            one_each = any(column.unique for column in columns if column.parent == parent)
            number = "i" if one_each else f"1 + {_hashed(name + parent, 'i')} % {max(self.made[parent], 1)}"
            numbered = f"(SELECT row_number() OVER () AS number, * FROM {parent})"
            joins += f" LEFT JOIN {numbered} AS p{place} ON p{place}.number = {number}"
        statement = (
            f"INSERT INTO {name} ({', '.join(map(identifier, chosen))}) OVERRIDING SYSTEM VALUE"
            f" SELECT {', '.join(chosen.values())} FROM generate_series(1, {rows}) AS i{joins} ON CONFLICT DO NOTHING"
            if chosen
            else f"INSERT INTO {name} DEFAULT VALUES"
        )
        try:
            with self.connection.transaction():
                self.connection.execute("SET LOCAL jit = off")
                self.made[name] = self.connection.execute(statement.encode()).rowcount
        except psycopg.Error as error:
            raise NoRows(f"{name}: {error.diag.message_primary}") from error

    def _columns(self, name: str) -> list[_Column]:
        """The columns; a column of several foreign keys is that of the first, a key is unique by one column."""
        found = self.connection.execute(
            """
            SELECT a.attname, format_type(a.atttypid, a.atttypmod), b.typname, b.typcategory::text, b.typtype::text,
                CASE WHEN b.typname IN ('varchar', 'bpchar') THEN nullif(m.typmod, -1) - 4
                    WHEN b.typname = 'numeric' AND m.typmod <> -1
                        THEN ((m.typmod - 4) >> 16 & 65535) - ((m.typmod - 4) & 2047) END,
                a.attnotnull OR t.typnotnull, a.atthasdef OR a.attidentity <> '',
                EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = a.attrelid AND i.indisunique
                    AND a.attnum = (SELECT k.attnum FROM pg_catalog.pg_attribute AS k
                        JOIN pg_catalog.pg_type AS y ON y.oid = k.atttypid
                        WHERE k.attrelid = i.indrelid AND k.attnum = ANY (i.indkey)
                        ORDER BY y.typtype = 'e' OR y.typname = 'bool', EXISTS (SELECT FROM pg_catalog.pg_constraint
                            WHERE contype = 'f' AND conrelid = k.attrelid AND k.attnum = ANY (conkey)), k.attnum
                        LIMIT 1)),
                f.parent, f.parent_column
            FROM pg_catalog.pg_attribute AS a
            JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
            JOIN pg_catalog.pg_type AS b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
            CROSS JOIN LATERAL (SELECT CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS typmod) AS m
            LEFT JOIN LATERAL (
                SELECT format('%%I.%%I', n.nspname, p.relname) AS parent, quote_ident(c.attname) AS parent_column
                FROM pg_catalog.pg_constraint AS k
                JOIN pg_catalog.pg_class AS p ON p.oid = k.confrelid
                JOIN pg_catalog.pg_namespace AS n ON n.oid = p.relnamespace
                CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS pair (mine, its)
                JOIN pg_catalog.pg_attribute AS c ON c.attrelid = k.confrelid AND c.attnum = pair.its
                WHERE k.contype = 'f' AND k.conrelid = a.attrelid AND pair.mine = a.attnum
                    AND k.confrelid <> k.conrelid
                ORDER BY k.conname LIMIT 1) AS f ON TRUE
            WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
            ORDER BY a.attnum
            """,
            [name],
        )
        return [_Column(*row) for row in found]

    def _value(self, table: str, column: _Column, parents: list[str], rows: int) -> str | None:
        """SQL for the value of a column in row ``i``; None leaves it to the column's default."""
        figures = self.figures.get((table, column.name), Figures())
        if column.parent:
            made: str | None = f"p{parents.index(column.parent)}.{column.parent_column}"
        else:
            made = _typed(column, figures, self._number(table, column, figures, rows), f"{table}.{column.name}:")
        if made is None:
            if column.has_default:
                return None
            if column.required:
                raise NoRows(f"{table}.{column.name}: no rule makes values of type {column.type}")
            return "NULL"
        if figures.null_share > 0 and not column.required:
            chance = f"{_hashed(f'{table}.{column.name} null', 'i')} % 1000"
            made = f"CASE WHEN {chance} >= {figures.null_share * 1000:.0f} THEN {made} END"
        return f"({made})::{column.type}"

    def _number(self, table: str, column: _Column, figures: Figures, rows: int) -> str:
        """The number of the value, from 1: with as many different ones as there are, in proportion."""
        real = max(self.real.get(table, 0), 1)
        distinct = figures.distinct if figures.distinct >= 0 else -figures.distinct * real
        distinct = min(max(distinct * rows / real, min(distinct, _FEW)), rows)
        if column.unique or distinct >= rows:
            return "i"
        if abs(figures.correlation or 0.0) > _IN_ORDER:  # a sort of what is nearly sorted is quicker
            return f"(1 + (i - 1) * {max(round(distinct), 1)} / {max(rows, 1)})"
        return f"(1 + {_hashed(f'{table}.{column.name}', 'i')} % {max(round(distinct), 1)})"


def without_checks(connection: psycopg.Connection[Any]) -> list[str]:
    """Takes off the CHECK constraints, which no generated row could be made to obey, and names them.

    Those of extensions stay: their tables and domains are not the role's to change.
    """
    found = connection.execute(
        """
        SELECT format('%s %s', CASE WHEN conrelid <> 0 THEN 'TABLE' ELSE 'DOMAIN' END,
                coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text)), conname
        FROM pg_catalog.pg_constraint
        WHERE contype = 'c' AND conislocal AND connamespace::regnamespace::text <> 'information_schema'
            AND pg_has_role(coalesce((SELECT relowner FROM pg_catalog.pg_class WHERE oid = conrelid),
                (SELECT typowner FROM pg_catalog.pg_type WHERE oid = contypid)), 'USAGE')
        ORDER BY 1, 2
        """
    ).fetchall()
    for target, name in found:
        connection.execute(f"ALTER {target} DROP CONSTRAINT {identifier(name)}".encode())
    return [name for _, name in found]


def _hashed(salt: str, row: str) -> str:
    return f"(hashint8extended({row}, {zlib.crc32(salt.encode())}) & 9007199254740991)"


def _typed(column: _Column, figures: Figures, number: str, salt: str) -> str | None:
    """The value of that number; None where the type has no rule."""
    limit = _WIDEST if column.size is None else min(column.size, _WIDEST)
    width = max(min(figures.width - 1, limit), 1)
    text = f"right(lpad({number}::text, greatest({width}, length({number}::text)), 'x'), {limit})"
    if column.kind == "e":
        values = f"enum_range(NULL::{column.type})"
        return f"({values})[1 + {number} % cardinality({values})]"
    if column.base == "numeric":
        return f"{number} % {10 ** max(min(15 if column.size is None else column.size, 15), 0)}"
    if column.category == "S" and column.base != "char":
        return text
    if column.category == "A":
        return "'{}'"
    if column.kind == "r":
        return "'empty'"
    rule = _RULES.get(column.base)
    return rule.format(n=number, text=text, salt=salt.replace("'", "''")) if rule else None
