"""The client-scoped queries among many clients, against the same query where the client is alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from phase_1.scripts import read as sections
from tests.support.benchmark import Figures, mean, median
from tests.support.clients import LAYOUTS, Clients, Read, alone, read

pytestmark = pytest.mark.benchmark

_COUNTS = (1, 10, 100, 1_000)
_ROUNDS = 5
#: Pages that a query may read more before a ratio says anything: a client that is alone may have one page in all,
#: which is read as it is; the tree of an index that holds every client is two levels more, and then the row.
_PAGES_TO_SPARE = 3
#: The goals: against the client alone, and with a thousand clients against ten.
_NEAR, _FLAT = 1.3, 1.2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_query_reads_little_more_than_where_its_client_is_alone(
    clients: Clients, figures: Figures, layout: str
) -> None:
    """A client's queries cost what they would if nobody else were there, and no more as others come.

    What costs a client time because of the others is what they leave for.
    """
    cells: list[dict[str, Any]] = []
    for count in _COUNTS:
        chosen = clients.deal(layout, count)
        found = clients.found
        # The first name of a client that has several: where there is but one, it is the largest.
        for client, size in {client: size for size, client in reversed(chosen.items())}.items():
            clients.isolate(client)
            for query, reads in _measured(clients, clients.bound(client, found), client).items():
                assert len({each.rows for kind in reads.values() for each in kind}) == 1, (query, client)
                cell = {"layout": layout, "clients": count, "client": size, "query": query, **_cell(reads)}
                figures.row("queries", **cell)
                cells.append(cell)
    assert {cell["query"] for cell in cells} == {section.name for section in sections("queries.sql")}
    _goals(figures, layout, cells)
    flat = _flatness(cells)
    where, growth = max(flat.items(), key=lambda item: item[1][0])
    figures.goal(f"pages with 1,000 clients against 10, {layout}", growth[0], _FLAT, where=where)
    where, slower = max(flat.items(), key=lambda item: item[1][1])
    figures.goal(f"time with 1,000 clients against 10, {layout}", slower[1], _FLAT, where=where)
    # Counts are gated, times are shown.
    assert growth[0] <= _FLAT, where


def _measured(clients: Clients, bound: dict[str, str], client: str) -> dict[str, dict[str, list[Read]]]:
    """Each query as it is, alone, and before the migration's indexes; in turns, after one that warms the cache."""
    connection = clients.connection
    reads: dict[str, dict[str, list[Read]]] = {query: defaultdict(list) for query in bound}
    for number in range(_ROUNDS + 1):
        for query, statement in bound.items():
            kinds = {"now": statement, "alone": alone(statement, client)}
            for kind, text in kinds.items() if number % 2 else reversed(kinds.items()):
                reads[query][kind].append(read(connection, text))
        with connection.transaction(force_rollback=True):
            for name, _, _ in clients.indexes:
                connection.execute(f"DROP INDEX public.{name}".encode())
            for query, statement in bound.items():
                reads[query]["before"].append(read(connection, statement))
    return {query: {kind: each[1:] for kind, each in kinds.items()} for query, kinds in reads.items()}


def _cell(reads: dict[str, list[Read]]) -> dict[str, Any]:
    pages = {kind: int(median([each.pages for each in every])) for kind, every in reads.items()}
    times = {kind: median([each.milliseconds for each in every]) for kind, every in reads.items()}
    return {
        "rows": reads["now"][0].rows,
        **{f"pages {kind}": value for kind, value in pages.items()},
        **{f"ms {kind}": round(value, 3) for kind, value in times.items()},
        "pages against alone": round(pages["now"] / max(pages["alone"], 1), 2),
        "time against alone": round(times["now"] / times["alone"], 2),
        "time against before": round(times["now"] / times["before"], 7),
    }


def _more(cell: dict[str, Any], against: int) -> float:
    """How many times the pages; once, where the difference is what a tree of many clients costs."""
    now = int(cell["pages now"])
    return 1.0 if now - against <= _PAGES_TO_SPARE else now / against


def _goals(figures: Figures, layout: str, cells: list[dict[str, Any]]) -> None:
    more = {f"{c['query']}, {c['client']} of {c['clients']}": _more(c, c["pages alone"]) for c in cells}
    where, worst = max(more.items(), key=lambda item: item[1])
    missed = sum(each > _NEAR for each in more.values())
    figures.goal(
        f"pages against the client alone, {_PAGES_TO_SPARE} to spare, {layout}",
        worst,
        _NEAR,
        where=f"{where}; {missed} of {len(more)} above",
    )
    queries = {cell["query"]: [c for c in cells if c["query"] == cell["query"]] for cell in cells}
    slower = {query: mean(c["time against alone"] for c in own) for query, own in queries.items()}
    where, slowest = max(slower.items(), key=lambda item: item[1])
    figures.goal(f"time against the client alone, {layout}, mean of the slowest query", slowest, _NEAR, where=where)
    for query, own in queries.items():
        figures.gate(f"{query}, {layout}, mean pages", mean(c["pages now"] for c in own), "pages")
        figures.gate(
            f"{query}, {layout}, against alone", mean(_more(c, c["pages alone"]) for c in own), "ratio of pages"
        )
    figures.gate(f"queries, {layout}, against alone", mean(slower.values()), "ratio of times")
    figures.gate(f"queries, {layout}, against before", mean(c["time against before"] for c in cells), "ratio of times")


def _flatness(cells: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """For the client of constant size: pages and time of each query with the most clients against ten."""
    constant = {(cell["clients"], cell["query"]): cell for cell in cells if cell["client"] == "constant"}
    found = {}
    for (count, query), cell in constant.items():
        if count == _COUNTS[-1] and (10, query) in constant:
            ten = constant[10, query]
            found[query] = (_more(cell, ten["pages now"]), cell["ms now"] / ten["ms now"])
    return found
