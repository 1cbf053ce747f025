"""Every index serves a query, every query is served: plans by their properties, never by their cost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from phase_1.found import Found, begin_reading, inspect
from phase_1.inventory import DEFAULT_ORGANIZATION, TABLES
from phase_1.options import parse
from phase_1.scripts import Section, read
from phase_1.verify import bind, explain, queries
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database

#: Pages that a query may read for each row that it returns or adds up, and pages of the index on the way to
#: them. A sequential scan of the large table reads thousands.
_PAGES_A_ROW, _PAGES_OF_THE_WAY = 1.2, 12

#: Shares of the rows that other clients get: skewed, as real clients are.
_CLIENTS = {
    "11111111-1111-4111-8111-111111111111": 4,
    "22222222-2222-4222-8222-222222222222": 50,
}


@contextmanager
def _looking(database: Database) -> Iterator[tuple[psycopg.Connection[Any], Found]]:
    """A session without the application's own indexes, which is undone, and what the runner finds.

    Where the application has an index on the same column, and all rows belong to one client, the planner
    prefers that one: it is smaller. With it there, nothing could be shown of ours.
    """
    with database.connect(OWNER) as reading:
        begin_reading(reading, 500)
        found = inspect(reading, parse([]))
        reading.execute("ROLLBACK")
    with database.connect(autocommit=False) as connection:
        connection.execute(
            "DO $$ DECLARE own regclass; BEGIN FOR own IN"
            " SELECT i.indexrelid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'idx\\_%'"
            " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)"
            " LOOP EXECUTE 'DROP INDEX ' || own; END LOOP; END $$"
        )
        yield connection, found
        connection.rollback()


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _is_served(plan: Mapping[str, Any], index: str) -> bool:
    """Whether the plan finds its rows through the index, by the client, and never reads the whole table."""
    nodes = list(_nodes(plan))
    return not any(node["Node Type"] == "Seq Scan" for node in nodes) and any(
        node.get("Index Name") == index and "client_id" in node.get("Index Cond", "") for node in nodes
    )


def _rows_read(plan: Mapping[str, Any]) -> float:
    return max(float(node["Actual Rows"] * node["Actual Loops"]) for node in _nodes(plan))


@pytest.mark.claim("index-serves-its-query")
def test_query_is_served_by_the_index_that_it_names(large_migrated: Database, evidence: Evidence) -> None:
    """On a large table every client-scoped query goes through its index, and reads few pages.

    A query that reads the whole table for one client gets slower with every client that comes.
    """
    shown = []
    with _looking(large_migrated) as (connection, found):
        for section in queries(found):
            query = bind(connection, found, section, DEFAULT_ORGANIZATION)
            assert query is not None, section.name
            plan = explain(connection, query, analyze=True)["Plan"]
            index = section.header("index")
            assert _is_served(plan, index), f"{section.name} is not served by {index}: {json.dumps(plan, indent=1)}"
            # The order that is asked for is the index's own, the latest first.
            assert not any(node.get("Scan Direction") == "Backward" for node in _nodes(plan)), section.name
            pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            rows = _rows_read(plan)
            assert pages <= rows * _PAGES_A_ROW + _PAGES_OF_THE_WAY, (section.name, pages, rows)
            shown.append({"query": section.name, "index": index, "pages": pages, "rows": rows})
    assert len(shown) == sum(len(table.indexes) for table in TABLES)
    evidence("queries and their indexes", shown)


@pytest.mark.claim("index-serves-its-query")
def test_query_is_served_for_clients_of_every_size(large_migrated: Database) -> None:
    """With clients of skewed sizes the queries that are about one client's part go through an index led by it.

    What is fast for the largest client may be a scan for the smallest, who calls first.
    """
    with _looking(large_migrated) as (connection, found):
        for other, share in _CLIENTS.items():
            connection.execute(
                "INSERT INTO public.organizations (id, name, slug) VALUES (%s, %s, %s)", [other, other, other]
            )
            for table in TABLES:
                connection.execute(
                    f"UPDATE public.{table.name} SET client_id = '{other}'"
                    f" WHERE client_id = '{DEFAULT_ORGANIZATION}'"
                    f" AND ('x' || left(md5(id::text), 6))::bit(24)::int % {share} = 0"
                )
        for table in TABLES:
            connection.execute(f"ANALYZE public.{table.name}")
        # Of a table of a few pages the planner is right to read them all.
        connection.execute("SET LOCAL enable_seqscan = off")
        for client in (DEFAULT_ORGANIZATION, *_CLIENTS):
            for section in queries(found):
                query = bind(connection, found, section, client)
                if query is None:
                    continue  # a client without such rows asks for nothing
                used = [node for node in _nodes(explain(connection, query)["Plan"]) if "Index Name" in node]
                assert used, (client, section.name)
                for node in used:
                    assert "client_id" in node["Index Cond"] + node.get("Filter", ""), (client, section.name, node)


@pytest.mark.claim("index-serves-its-query")
def test_every_index_is_named_by_one_query_and_every_query_names_one() -> None:
    """Indexes and queries are the same list, seen from two sides.

    An index that serves nothing costs every write; a query without one is found out in production.
    """
    indexes = sorted(index.name for table in TABLES for index in table.indexes)
    assert sorted(section.header("index") for section in read("queries.sql")) == indexes


@pytest.mark.claim("index-serves-its-query")
@pytest.mark.parametrize("section", read("queries.sql"), ids=lambda each: each.name)
def test_query_asks_for_the_client_and_for_what_its_sample_finds(section: Section) -> None:
    """A query has a condition for the client, and for each value that it is run with.

    One that forgets the month is served by the same index, and measures another query than the application's.
    """
    sampled = re.match(r"SELECT (.+?) FROM", section.header("sample") or "SELECT client_id FROM")
    assert sampled
    for column in {"client_id", *sampled[1].split(", ")}:
        assert f"{column} = :'{column}'" in section.statements[0], section.name


@pytest.mark.claim("baseline-recorded")
def test_checks_and_baseline_are_in_the_log_after_the_migration(migrated: Database) -> None:
    """The log keeps what the checks found, and time and pages of every client-scoped query.

    Whether it has become slower cannot be said without what it was.
    """
    [(status, details)] = migrated.query(
        "SELECT status, details FROM public.migration_log WHERE operation = 'verify' ORDER BY id DESC LIMIT 1"
    )
    assert status == "completed"
    assert {"integrity", "baseline"} - details.keys() == set(), "missing in the entry of verify"
    assert details["integrity"]["status"] == "passed"
    assert {each["query"] for each in details["baseline"]} == {each.name for each in read("queries.sql")}
    assert all(each["milliseconds"] >= 0 and each["buffers"] > 0 for each in details["baseline"])
