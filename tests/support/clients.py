"""Many clients in one database: the same rows in two layouts, and each client's rows as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from phase_1.found import Found, begin_reading, inspect
from phase_1.inventory import DEFAULT_ORGANIZATION, TABLES
from phase_1.options import parse
from phase_1.verify import bind, queries
from tests.application import load
from tests.plugins.database import Database
from tests.support.runner import run

#: ``together``: the sales and logs of an upload lie together, as uploads arrive, and in the other tables the rows
#: of a client. ``interleaved``: every row lies between rows of other clients, in the order of time.
LAYOUTS = ("together", "interleaved")

#: Where the rows wait from which the layouts are made, and where those of one client are by themselves.
SOURCE, ALONE = "source", "alone"

#: From so many clients on there is one whose size, and whose rows, stay the same however many others there are:
#: it has every hundredth upload.
_CONSTANT_FROM, _CONSTANT = 10, "upload % 100 = 50"

#: Sales of an upload: few, so that there are uploads enough for a thousand clients.
_SALES_OF_AN_UPLOAD = 50
_FEWEST_UPLOADS = 2_000

_NAMES = tuple(table.name for table in TABLES)


@dataclass(frozen=True)
class Read:
    """What a query took: 8 kB pages of the buffer cache, milliseconds in the executor, and rows."""

    pages: int
    milliseconds: float
    rows: int


def shares(uploads: int, clients: int) -> list[int]:
    """The uploads of each client, by size: the k-th has about a k-th of the first, and each has one."""
    weights = [1 / rank for rank in range(1, clients + 1)]
    made = [max(1, int(uploads * weight / sum(weights))) for weight in weights]
    made[0] += uploads - sum(made)
    return made


class Clients:
    """A migrated database whose rows can be dealt out to any number of clients, in either layout."""

    def __init__(self, database: Database, sales: int) -> None:
        """Loads and migrates it, and sets the rows aside."""
        self.database = database
        self.sales = sales
        self.uploads = max(sales // _SALES_OF_AN_UPLOAD, _FEWEST_UPLOADS)
        self.connection = database.connect()
        # One order of rows, one plan: neither a scan that begins in the middle nor workers that share it.
        for setting in ("synchronize_seqscans = off", "max_parallel_workers_per_gather = 0", "jit = off"):
            self.connection.execute(f"SET {setting}".encode())
        number = self.uploads
        load.load(
            self.connection, "founding", sales=sales, users=number, uploads=number, products=number, email_logs=number
        )
        done = run("--dsn", database.owner_dsn, "--force")
        assert done.status == 0, done.err
        self.connection.execute("SET session_replication_role = replica")
        self._set_aside()
        self.indexes = self._indexes()

    @property
    def found(self) -> Found:
        """What the runner finds in it."""
        with self.database.connect("app_owner") as reading:
            begin_reading(reading, 500)
            return inspect(reading, parse([]))

    def deal(self, layout: str, clients: int) -> dict[str, str]:
        """Gives the rows to so many clients, one INSERT … SELECT a table.

        Returns the ids of the ``largest``, the ``median``, the ``smallest``, and, from ten clients on, of the one
        of ``constant`` size.
        """
        ids = [DEFAULT_ORGANIZATION, *(f"{rank:08d}-0000-4000-8000-0000000000c1" for rank in range(1, clients))]
        constant = ids.pop() if clients >= _CONSTANT_FROM else None
        execute = self.connection.execute
        execute(f"TRUNCATE {', '.join(f'public.{name}' for name in _NAMES)}, public.user_organizations".encode())
        for name, _, _ in self.indexes:
            execute(f"DROP INDEX IF EXISTS public.{name}".encode())
        execute(
            "INSERT INTO public.organizations (id, name, slug) SELECT id::uuid, id, id FROM unnest(%s::text[])"
            " AS made (id) ON CONFLICT DO NOTHING",
            [[*ids, *([constant] if constant else [])]],
        )
        execute(f"TRUNCATE {SOURCE}.owners".encode())
        apart = _CONSTANT if constant else "FALSE"
        [(others,)] = execute(
            f"SELECT count(*) FROM generate_series(1, {self.uploads}) AS upload WHERE NOT {apart}".encode()
        )
        execute(
            f"INSERT INTO {SOURCE}.owners SELECT upload, '{constant or DEFAULT_ORGANIZATION}'"
            f" FROM generate_series(1, {self.uploads}) AS upload WHERE {apart}".encode()
        )
        # Each of the others has an upload now and then, in the order of time.
        execute(
            f"INSERT INTO {SOURCE}.owners SELECT upload, client_id FROM ("
            " SELECT row_number() OVER (ORDER BY (k - 0.5) / size, client_id) AS place, client_id"
            " FROM unnest(%s::text[]::uuid[], %s::int[]) AS client (client_id, size), generate_series(1, size) AS k"
            ") AS client JOIN (SELECT row_number() OVER (ORDER BY upload) AS place, upload"
            f" FROM generate_series(1, {self.uploads}) AS upload WHERE NOT {apart.replace('%', '%%')}"
            ") AS free USING (place)",
            [ids, shares(others, len(ids))],
        )
        execute(f"ANALYZE {SOURCE}.owners".encode())
        for name in _NAMES:
            self._deal(name, layout)
        for _, _, definition in self.indexes:
            execute(definition.encode())
        execute(f"VACUUM (ANALYZE) {', '.join(f'public.{name}' for name in _NAMES)}".encode())
        chosen = {"largest": ids[0], "median": ids[len(ids) // 2], "smallest": ids[-1]}
        return {**chosen, "constant": constant} if constant else chosen

    def isolate(self, client: str) -> None:
        """Copies the rows of one client, in their order, to where they are alone; every index is less ``client_id``."""
        execute = self.connection.execute
        for name in _NAMES:
            execute(f"DROP TABLE IF EXISTS {ALONE}.{name}".encode())
            execute(
                f"CREATE TABLE {ALONE}.{name} AS SELECT * FROM public.{name} WHERE client_id = '{client}'"
                " ORDER BY ctid".encode()
            )
        for _, _, definition in self._indexes(own=True):
            execute(alone(definition).encode())
        execute(f"VACUUM (ANALYZE) {', '.join(f'{ALONE}.{name}' for name in _NAMES)}".encode())

    def bound(self, client: str, found: Found) -> dict[str, str]:
        """The client-scoped queries with values of the client's own; none for which it has no rows."""
        made = {section.name: bind(self.connection, found, section, client) for section in queries(found)}
        return {name: query for name, query in made.items() if query is not None}

    def _deal(self, name: str, layout: str) -> None:
        listed = ", ".join(each for each in columns(self.connection, name) if each != "client_id")
        by_upload = name in ("sellout_entries2", "processing_logs", "transform_logs")
        order = {
            "together": "upload, number" if by_upload else "client_id, number",
            "interleaved": "(row_number() OVER (PARTITION BY client_id ORDER BY number) - 0.5)"
            " / count(*) OVER (PARTITION BY client_id), client_id",
        }[layout]
        self.connection.execute(
            f"INSERT INTO public.{name} ({listed}, client_id) SELECT {listed}, client_id"
            f" FROM {SOURCE}.{name} JOIN {SOURCE}.owners USING (upload) ORDER BY {order}".encode()
        )

    def _set_aside(self) -> None:
        """Numbers the rows of each table in the order of time, and says to which upload each belongs."""
        execute = self.connection.execute
        execute(f"CREATE SCHEMA {SOURCE}; CREATE SCHEMA {ALONE}".encode())
        execute(f"CREATE UNLOGGED TABLE {SOURCE}.owners (upload bigint PRIMARY KEY, client_id uuid)".encode())
        # As the loader counts: five processing logs and three of transformations an upload, and 1 of each of the rest.
        upload = {
            "sellout_entries2": f"(number * {self.uploads} + {self.sales} - 1) / {self.sales}",
            "processing_logs": "(number + 4) / 5",
            "transform_logs": "(number + 2) / 3",
        }
        for name in _NAMES:
            execute(
                f"CREATE UNLOGGED TABLE {SOURCE}.{name} AS SELECT *, {upload.get(name, 'number')} AS upload FROM ("
                f" SELECT *, row_number() OVER (ORDER BY created_at, id) AS number FROM public.{name}"
                ") AS numbered".encode()
            )
            execute(f"ALTER TABLE {SOURCE}.{name} DROP COLUMN client_id".encode())
        execute(f"ANALYZE {', '.join(f'{SOURCE}.{name}' for name in _NAMES)}".encode())

    def _indexes(self, own: bool = False) -> list[tuple[str, str, str]]:
        """Name, table and definition of the migration's indexes, or of all of them, the application's ``own`` too."""
        return [
            (str(name), str(table), str(definition))
            for name, table, definition in self.connection.execute(
                "SELECT indexname, tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
                " AND tablename = ANY (%s) AND (%s OR indexname LIKE 'idx\\_%%') ORDER BY tablename, indexname",
                [list(_NAMES), own],
            )
        ]


def columns(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """The columns of a tenant table, in their order."""
    return [
        str(name)
        for (name,) in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attnum",
            [f"public.{table}"],
        )
    ]


def alone(statement: str, client: str = "") -> str:
    """A query or an index of one client as it would be if nobody else were there."""
    statement = statement.replace("public.", f"{ALONE}.").replace("(client_id, ", "(")
    return statement.replace(f"client_id = '{client}'", "TRUE")


def explain(connection: psycopg.Connection[Any], query: str) -> Mapping[str, Any]:
    """The plan of a query that was run, without the cost of a clock at each node."""
    row = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query}".encode()).fetchone()
    assert row is not None
    explained: Mapping[str, Any] = row[0][0]
    return explained


def read(connection: psycopg.Connection[Any], query: str) -> Read:
    """Runs a query and says what it took."""
    explained = explain(connection, query)
    plan = explained["Plan"]
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return Read(pages, explained["Execution Time"], int(plan["Actual Rows"]))


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every node of a plan, from the root of it down."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)
