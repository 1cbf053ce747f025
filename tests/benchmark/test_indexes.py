"""What each index costs and what it serves, and what other indexes would do in its place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from phase_1.inventory import TABLES
from phase_1.scripts import read as sections
from tests.support.benchmark import Figures, mean, median
from tests.support.clients import LAYOUTS, Clients, Read, columns, read

pytestmark = pytest.mark.benchmark

_CLIENTS = 100
_ROUNDS = 5
_INSERTED = 10_000  # rows at a time, over which WAL is counted

_SALES = "sellout_entries2"
_LATEST, _UPLOAD = "(client_id, created_at DESC)", "(client_id, upload_id)"

#: Sets of indexes for the sales; each serves the same queries, or tries to.
_TRIALS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "one column each": (
        "(client_id, year, month)", "(client_id, reseller)", "(client_id, product_ean)", _LATEST, _UPLOAD,
    ),
    "more key columns": (
        "(client_id, year, month, product_ean)", "(client_id, reseller, year, month)",
        "(client_id, product_ean, year, month)", _LATEST, _UPLOAD,
    ),
    "INCLUDE": (
        "(client_id, year, month) INCLUDE (product_ean)", "(client_id, reseller) INCLUDE (year, month)",
        "(client_id, product_ean) INCLUDE (year, month)", _LATEST, _UPLOAD,
    ),
    "more key columns, partial": (
        "(client_id, year, month, product_ean)", "(client_id, reseller, year, month) WHERE reseller IS NOT NULL",
        "(client_id, product_ean, year, month) WHERE product_ean IS NOT NULL", _LATEST,
        "(client_id, upload_id) WHERE upload_id IS NOT NULL",
    ),
    "more key columns, none for uploads": (
        "(client_id, year, month, product_ean)", "(client_id, reseller, year, month)",
        "(client_id, product_ean, year, month)", _LATEST,
    ),
    "more key columns but for the month": (
        "(client_id, year, month)", "(client_id, reseller, year, month)", "(client_id, product_ean, year, month)",
        _LATEST, _UPLOAD,
    ),
    "BRIN for the month": (
        "USING brin (client_id, year, month)", "(client_id, reseller)", "(client_id, product_ean)", _LATEST, _UPLOAD,
    ),
    "client_id last": (
        "(year, month, client_id)", "(reseller, client_id)", "(product_ean, client_id)", "(created_at DESC, client_id)",
        "(upload_id, client_id)",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Inserted:
    """WAL in bytes a row, and rows a second, of a bulk insert."""

    wal: float
    rate: float


def test_index_serves_its_query_for_what_it_costs(clients: Clients, figures: Figures) -> None:
    """Each index saves its query pages among many clients; its size and what it adds to a row's WAL are known.

    An index that serves nothing costs every write, for good.
    """
    chosen = clients.deal("interleaved", _CLIENTS)
    connection = clients.connection
    bound = clients.bound(chosen["largest"], clients.found)
    query_of = {section.header("index"): section.name for section in sections("queries.sql")}
    reads = {name: _pages(clients, bound[query_of[name]]) for name, _, _ in clients.indexes}
    sizes = {name: _size(clients, name) for name, _, _ in clients.indexes}
    for table in TABLES:
        own = [(name, definition) for name, where, definition in clients.indexes if where == table.name]
        without: dict[str, Read] = {}
        for name, definition in own:
            connection.execute(f"DROP INDEX public.{name}".encode())
            without[name] = _pages(clients, bound[query_of[name]])
            connection.execute(definition.encode())
        for name, _ in own:
            connection.execute(f"DROP INDEX public.{name}".encode())
        [(rows,)] = connection.execute(f"SELECT count(*) FROM public.{table.name}".encode())
        bare = _insert(clients, table.name).wal
        for name, definition in own:
            connection.execute(definition.encode())
            wal = _insert(clients, table.name).wal - bare
            connection.execute(f"DROP INDEX public.{name}".encode())
            figures.row(
                "indexes", index=name, columns=definition.partition(" USING btree ")[2], serves=query_of[name],
                **{"MB": round(sizes[name] / 2**20, 2), "bytes a row": round(sizes[name] / rows, 1),
                   "WAL a row": round(wal), "pages with it": reads[name].pages, "pages without": without[name].pages,
                   "ms with it": round(reads[name].milliseconds, 3),
                   "ms without": round(without[name].milliseconds, 3)},
            )  # fmt: skip
            figures.gate(f"{name}, a row", sizes[name] / rows, "bytes")
            figures.gate(f"{name}, WAL of a row", max(wal, 0.0), "bytes")
            assert reads[name].pages <= without[name].pages, name
        for _, definition in own:
            connection.execute(definition.encode())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_indexes_are_weighed_by_what_they_read_and_cost(clients: Clients, figures: Figures, layout: str) -> None:
    """What INCLUDE, more columns, another order, a condition, BRIN and fewer indexes would do is known.

    Without the figures an index is chosen by taste, and every write pays for it.
    """
    chosen = {size: each for size, each in clients.deal(layout, _CLIENTS).items() if size != "smallest"}
    found, connection = clients.found, clients.connection
    mine = [name for name, table, _ in clients.indexes if table == _SALES]
    served = [section.name for section in sections("queries.sql") if section.header("index") in mine]
    bound = {size: clients.bound(client, found) for size, client in chosen.items()}
    for name in mine:
        connection.execute(f"DROP INDEX public.{name}".encode())
    baseline: dict[tuple[str, str], Read] = {}
    everything: dict[tuple[str, str], int] = {}
    for trial, indexes in _TRIALS.items():
        names = [f"trial_{number}" for number in range(len(indexes))]
        began = time.perf_counter()
        for name, definition in zip(names, indexes, strict=True):
            connection.execute(f"CREATE INDEX {name} ON public.{_SALES} {definition}".encode())
        built = time.perf_counter() - began
        connection.execute(f"VACUUM (ANALYZE) public.{_SALES}".encode())
        size = sum(_size(clients, name) for name in names)
        reads = {(query, who): _pages(clients, bound[who][query]) for query in served for who in chosen}
        baseline = baseline or (reads if indexes else {})
        inserted = _insert(clients, _SALES, 3)
        slower = [reads[key].milliseconds / each.milliseconds for key, each in baseline.items()]
        figures.row(
            "index trial", layout=layout, indexes=trial,
            **{"MB": round(size / 2**20, 1), "build s": round(built, 1), "WAL a row": round(inserted.wal),
               "rows/s": round(inserted.rate)},
            **{f"{query}, pages": " / ".join(str(reads[query, who].pages) for who in chosen) for query in served},
            **({"time against one column each": round(mean(slower), 2)} if slower else {}),
        )  # fmt: skip
        for name in names:
            connection.execute(f"DROP INDEX public.{name}".encode())
        # The application has an index of its own for the sales of an upload.
        everything = everything or {key: each.pages for key, each in reads.items() if key[0] != "sales_of_an_upload"}
        assert not indexes or all(reads[key].pages < pages for key, pages in everything.items()), trial


def _pages(clients: Clients, query: str) -> Read:
    """What a query takes, with the median time of several."""
    several = [read(clients.connection, query) for _ in range(_ROUNDS + 1)][1:]
    return Read(several[0].pages, median([each.milliseconds for each in several]), several[0].rows)


def _size(clients: Clients, name: str) -> int:
    [(size,)] = clients.connection.execute("SELECT pg_relation_size(%s::regclass)", [f"public.{name}"])
    return int(size)


def _insert(clients: Clients, table: str, rounds: int = 2) -> _Inserted:
    """Inserts the newest rows of every client once more, and takes it back."""
    connection = clients.connection
    listed = [name for name in columns(connection, table) if name not in ("id", "client_id")]
    # What has to be unique is made so.
    given = [f"'again ' || {name}" if name in ("ean", "email") else name for name in listed]
    statement = (
        f"INSERT INTO public.{table} ({', '.join(listed)}, client_id) SELECT {', '.join(given)}, client_id"
        f" FROM source.{table} JOIN source.owners USING (upload) ORDER BY number DESC LIMIT {_INSERTED}"
    )
    counted: list[_Inserted] = []
    for _ in range(rounds):
        with connection.transaction(force_rollback=True):
            [(before,)] = connection.execute("SELECT pg_current_wal_insert_lsn()")
            began = time.perf_counter()
            rows = connection.execute(statement.encode()).rowcount
            seconds = time.perf_counter() - began
            [(wal,)] = connection.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [before])
            counted.append(_Inserted(float(wal) / rows, rows / seconds))
    # Takes away what is left of the rows that were taken back, in the indexes too.
    connection.execute(f"VACUUM public.{table}".encode())
    return _Inserted(min(each.wal for each in counted), median([each.rate for each in counted]))
