"""What the old application's writes cost after the migration, against before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from phase_1.inventory import TABLES
from tests.application import load
from tests.plugins.database import Database, Templates
from tests.support.benchmark import Figures, median
from tests.support.pgbench import rate
from tests.support.runner import run

pytestmark = pytest.mark.benchmark

_CONNECTIONS = (1, 8, 32)
_ROUNDS = 5
_SECONDS = 1
#: What is left of the rate before: the goal, with so many connections.
_GOAL, _GOAL_CONNECTIONS = 0.85, 8
#: Transactions over which WAL is counted.
_COUNTED = 2_000

#: The loader's upload by its number; pgbench would take a colon in a literal for one of its variables.
_UPLOAD = "md5(concat_ws(chr(58), 1, 'upload', :upload::int))::uuid"
_SALE = (
    "4, 'Étagère', (ARRAY['Bücher Müller', 'Galeries du Nord', '東京堂書店', 'Plain Trading'])[1 + :other::int % 4],"
    " 'DE', 2020 + :other::int % 7, 1 + :upload::int % 12, 3, 59.85, 54.46, 'EUR'"
)
_SALE_COLUMNS = (
    "(upload_id, product_ean, source_row, functional_name, reseller, country, year, month, quantity, sales_lc,"
    " sales_eur, currency)"
)
_EAN = "(4001000000000 + :product::bigint)::text"

#: Each is a transaction, and says how many rows it writes.
_WRITES = {
    "insert a sale": (1, f"INSERT INTO public.sellout_entries2 {_SALE_COLUMNS} VALUES ({_UPLOAD}, {_EAN}, {_SALE})"),
    "insert 20 sales of an upload": (
        20,
        f"INSERT INTO public.sellout_entries2 {_SALE_COLUMNS}"
        f" SELECT {_UPLOAD}, (4001000000000 + :product::bigint + line)::text, {_SALE}"
        " FROM generate_series(1, 20) AS line",
    ),
    "upsert a product": (
        1,
        f"INSERT INTO public.products (ean, name, list_price_eur) VALUES ({_EAN}, 'Lampe', 49.90)"
        " ON CONFLICT (ean) DO UPDATE SET list_price_eur = excluded.list_price_eur + 0.01",
    ),
    "update an upload": (
        1,
        "UPDATE public.uploads SET status = (ARRAY['pending', 'processing', 'completed'])[1 + :other::int % 3],"
        f" rows_processed = rows_processed + 1 WHERE id = {_UPLOAD}",
    ),
}


@pytest.fixture(scope="module")
def twins(templates: Templates, figures: Figures, pytestconfig: pytest.Config) -> Iterator[dict[str, Database]]:
    """The application with ``--sales`` sales, before the migration and after it."""
    made = {}
    for state in ("before", "after"):
        database = templates.clone("founding-empty")
        with database.connect() as connection:
            load.load(connection, "founding", sales=pytestconfig.option.sales, vacuum=True)
        if state == "after":
            done = run("--dsn", database.owner_dsn, "--force")
            assert done.status == 0, done.err
        with database.connect() as connection:
            for table in TABLES:  # it would clean one of the two while the other is measured
                connection.execute(f"ALTER TABLE public.{table.name} SET (autovacuum_enabled = off)".encode())
            connection.execute("CHECKPOINT")
        made[state] = database
    yield made
    for database in made.values():
        database.drop()


@pytest.mark.parametrize("write", _WRITES)
def test_old_application_writes_nearly_as_fast_as_before(
    twins: dict[str, Database], figures: Figures, write: str, pytestconfig: pytest.Config
) -> None:
    """What the column, its foreign key and the indexes cost a write is known, with few connections and with many.

    An import that takes a third longer does not end before the office opens.
    """
    rows, statement = _WRITES[write]
    sales = pytestconfig.option.sales
    most = {"upload": max(3, sales // 200), "product": min(max(10, sales // 500), 20_000), "other": 1_000_000}
    script = "".join(f"\\set {name} random(1, {number})\n" for name, number in most.items())
    script += f"{' '.join(statement.split())};\n"
    wal = {state: _wal_of_a_row(database, script, rows) for state, database in twins.items()}
    for connections in _CONNECTIONS:
        rates: dict[str, list[float]] = {state: [] for state in twins}
        for number in range(_ROUNDS):
            for state in sorted(twins, reverse=bool(number % 2)):
                rates[state].append(rate(twins[state], script, connections=connections, seconds=_SECONDS))
        left = median([after / before for after, before in zip(rates["after"], rates["before"], strict=True)])
        figures.row(
            "costs", write=write, connections=connections,
            **{f"rows/s {state}": round(rows * median(each)) for state, each in rates.items()},
            left=round(left, 2), **{f"WAL {state}, B/row": round(each) for state, each in wal.items()},
        )  # fmt: skip
        # The best of each: what else the machine does can only make it slower.
        best = max(rates["before"]) / max(rates["after"])
        figures.gate(f"{write}, {connections} connections, before against after", best, "ratio of times")
        if connections == _GOAL_CONNECTIONS:
            figures.goal(f"{write}: rate left with {connections} connections", left, -_GOAL)
    figures.gate(f"{write}, WAL of a row", wal["after"], "bytes")
    figures.gate(f"{write}, WAL of a row against before", wal["after"] / wal["before"], "ratio of bytes")
    assert wal["after"] > wal["before"] > 0  # the measure can see an index


def _wal_of_a_row(database: Database, script: str, rows: int) -> float:
    """Bytes of WAL for each row that a script writes."""
    with database.connect() as connection:

        def position() -> int:
            [(written,)] = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
            return int(written)

        rate(database, script, transactions=_COUNTED // 10)  # the first ones read the catalog, and clean pages
        before = position()
        rate(database, script, transactions=_COUNTED)
        return (position() - before) / _COUNTED / rows
