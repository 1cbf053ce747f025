"""A staging database after Phase 1: every check, and plans, answers and figures from its own rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest

from phase_1.inventory import CHILDREN
from phase_1.verify import ask, bind, explain, index_names, queries
from tests.plugins.certificate import Evidence
from tests.support.staging import MIGRATED, Staging, require_none

pytestmark = pytest.mark.staging(MIGRATED)

#: Pages that a query may read for each row that it reads, and on the way to them; see test_index_use.py. More
#: than there: nobody vacuums a staging database for us.
_PAGES_A_ROW, _PAGES_OF_THE_WAY = 2, 64
#: Of so large a share of a table the planner is right to read all of it.
_LARGE_SHARE = 0.05

#: Users and pairs of a user and a client that the functions are asked about, those first whose hash is smallest.
_USERS, _PAIRS = 50_000, 200_000

# A user and a client that are nobody's, and NULL, are to be asked about too.
_NOBODY = "'ffffffff-ffff-4fff-bfff-ffffffffffff'::uuid"

# Written from the specification: who may see which client, as pairs.
_ALLOWED = """
    allowed AS (
        SELECT m.user_id, m.organization_id, m.created_at, m.id
        FROM public.user_organizations AS m
        JOIN public.organizations AS o ON o.id = m.organization_id
        WHERE m.is_active IS TRUE AND o.is_active IS TRUE
        UNION ALL
        SELECT u.id, o.id, NULL, NULL
        FROM public.users AS u
        JOIN public.organizations AS o ON o.id = u.client_id
        WHERE o.is_active IS TRUE AND u.id NOT IN (SELECT user_id FROM public.user_organizations)
    )"""

_ORGANIZATION_OF = f"""
    WITH {_ALLOWED},
    expected AS (
        SELECT DISTINCT ON (a.user_id) a.user_id, a.organization_id
        FROM allowed AS a
        JOIN public.users AS u ON u.id = a.user_id
        ORDER BY a.user_id, CASE WHEN a.organization_id = u.client_id THEN 0 ELSE 1 END, a.created_at, a.id
    ),
    given (user_id) AS (
        SELECT * FROM (SELECT id FROM public.users ORDER BY hashtext(id::text) LIMIT {_USERS}) AS users
        UNION ALL VALUES (NULL::uuid), ({_NOBODY})
    )
    SELECT count(*), count(*) FILTER (WHERE answer IS DISTINCT FROM wanted),
        (array_agg(user_id) FILTER (WHERE answer IS DISTINCT FROM wanted))[:3]::text
    FROM (
        SELECT given.user_id, expected.organization_id AS wanted, [answer] AS answer
        FROM given LEFT JOIN expected ON expected.user_id = given.user_id
    ) AS compared"""

_ACCESS = f"""
    WITH {_ALLOWED},
    given (user_id, client_id) AS (
        SELECT * FROM (
            SELECT u.id AS user_id, o.id AS client_id
            FROM (SELECT id FROM public.users UNION ALL VALUES (NULL), ({_NOBODY})) AS u
            CROSS JOIN (SELECT id FROM public.organizations UNION ALL VALUES (NULL), ({_NOBODY})) AS o
            ORDER BY hashtext(concat(u.id, o.id)) LIMIT {_PAIRS}) AS pairs
    )
    SELECT count(*), count(*) FILTER (WHERE answer IS DISTINCT FROM wanted),
        (array_agg(concat_ws(' ', user_id, client_id)) FILTER (WHERE answer IS DISTINCT FROM wanted))[:3]::text
    FROM (
        SELECT given.user_id, given.client_id, pairs.user_id IS NOT NULL AS wanted, [answer] AS answer
        FROM given
        LEFT JOIN (SELECT DISTINCT user_id, organization_id FROM allowed) AS pairs
            ON pairs.user_id = given.user_id AND pairs.organization_id = given.client_id
    ) AS compared"""

#: The functions, their arguments, and the query that compares ``[answer]`` with what is to be answered.
COMPARED = (
    ("get_user_organization_id", ("user_id",), _ORGANIZATION_OF),
    ("validate_client_access", ("user_id", "client_id"), _ACCESS),
)


@pytest.mark.claim("staging-checks")
def test_every_check_passes_on_staging(staging: Staging, evidence: Evidence) -> None:
    """No check of ``--verify`` finds a violation, and no row disagrees with what it belongs to.

    A staging database that is not what the migration promises says nothing about production.
    """
    problems = staging.check("verify", evidence)
    with staging.looking():
        disagreeing = dict(_disagreements(staging))
    evidence("rows that disagree with what they belong to", disagreeing)
    problems += [
        f"{count} of the rows of public.{table} belong to another client than their parent. What to do: see who wrote "
        "them, and correct client_id"
        for table, count in disagreeing.items()
        if count
    ]
    require_none(problems)


def _disagreements(staging: Staging) -> Iterator[tuple[str, int]]:
    """What ``validate_client_data_integrity`` counts, which only the owner and the back end may execute."""
    for child, column, parent in CHILDREN:
        here = staging.found.table(child)
        if here and here.client_id and column in here.columns and parent in staging.tables:
            yield (
                child,
                staging.value(
                    f"SELECT count(*) FROM public.{child} AS c JOIN public.{parent} AS p ON p.id = c.{column}"
                    " WHERE c.client_id IS DISTINCT FROM p.client_id"
                ),
            )
    yield (
        "users",
        staging.value(
            "SELECT count(*) FROM public.users AS u WHERE u.id IN (SELECT user_id FROM public.user_organizations)"
            " AND NOT EXISTS (SELECT FROM public.user_organizations AS m"
            " WHERE (m.user_id, m.organization_id) = (u.id, u.client_id))"
        ),
    )


@pytest.mark.claim("staging-index-use")
def test_client_queries_are_served_by_an_index_for_clients_of_every_size(staging: Staging, evidence: Evidence) -> None:
    """With the real statistics each query reads few pages for its rows, and an index can serve it.

    What is fast for the client that everybody tests with may read the whole table for another.
    """
    clients = staging.clients()
    if not clients:
        pytest.fail("could not be checked: no row on staging has a client", pytrace=False)
    problems = []
    for client in clients:
        measured = []
        with staging.looking() as connection:
            for section in queries(staging.found):
                query = bind(connection, staging.found, section, client.id)
                if query is not None:  # None: the client has no such row, and asks for nothing
                    figures, problem = _measured(connection, query, section.header("index"))
                    measured.append({"query": section.name, **figures})
                    problems += [f"{section.name} of the {client.size} client: {problem}"] if problem else []
        assert measured, f"no query could be run for {client}"
        evidence(f"the {client.size} client, {client.rows:,} rows", measured)
    require_none(problems)


def _measured(connection: psycopg.Connection[Any], query: str, index: str) -> tuple[dict[str, Any], str]:
    """The figures of a query as it runs, and what is wrong with its plan, if anything."""
    connection.execute("SET LOCAL enable_seqscan = off")
    usable = index_names(explain(connection, query)["Plan"])
    connection.execute("SET LOCAL enable_seqscan = on")
    explained = explain(connection, query, analyze=True)
    plan = explained["Plan"]
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    nodes = list(_nodes(plan))
    rows = max(round(node["Actual Rows"] * node["Actual Loops"]) for node in nodes)
    problem = "" if usable else f"no index can serve it. What to do: see what the checks find of {index}"
    if usable and pages > rows * _PAGES_A_ROW + _PAGES_OF_THE_WAY:
        share = rows / max(_rows_of(connection, nodes), 1)
        if share < _LARGE_SHARE:
            problem = f"reads {pages} pages for {rows} rows, {share:.1%} of its table. What to do: VACUUM ANALYZE it"
    used = index_names(plan)
    figures = {
        "ms": round(explained["Execution Time"], 2),
        "pages": pages,
        "rows": rows,
        "served by": "its own index" if used == [index] else ", ".join(used) or "reading it all",
    }
    return figures, problem


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _rows_of(connection: psycopg.Connection[Any], nodes: list[Mapping[str, Any]]) -> float:
    """The rows of the largest table in a plan, by the planner's estimate."""
    names = [node["Relation Name"] for node in nodes if "Relation Name" in node]
    [(rows,)] = connection.execute(
        "SELECT max(reltuples) FROM pg_catalog.pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relname = ANY (%s)",
        [names],
    ).fetchall()
    return float(rows or 0)


@pytest.mark.claim("staging-functions")
@pytest.mark.parametrize(("function", "arguments", "comparison"), COMPARED, ids=[each[0] for each in COMPARED])
def test_function_agrees_with_a_straightforward_query(
    staging: Staging, evidence: Evidence, function: str, arguments: tuple[str, ...], comparison: str
) -> None:
    """For the real memberships the function answers as the specification, read as a query, does.

    A wrong answer shows one client the figures of another, or nobody their own. A function that is not what the
    migration creates is not asked: it would run with the rights of whoever looks at staging.
    """
    with staging.looking() as connection:
        row = connection.execute(
            "SELECT prosrc, has_function_privilege(oid, 'EXECUTE') FROM pg_catalog.pg_proc"
            " WHERE oid = to_regprocedure(%s)",
            [f"public.{function}({', '.join('uuid' for _ in arguments)})"],
        ).fetchone()
        if row is None:
            pytest.fail(f"there is no function public.{function}. What to do: run migrate.py", pytrace=False)
        for found in ask(connection, staging.found, "verify", only="functions_are_hardened"):
            if found.object == f"public.{function}":
                pytest.fail(
                    f"could not be checked: public.{function} was not called, since it {found.problem}. "
                    f"What to do: {found.action}",
                    pytrace=False,
                )
        source, executable = row
        if executable:
            asked, answer = "the function", f"public.{function}({', '.join(f'given.{name}' for name in arguments)})"
        else:
            asked = f"its text in the catalog: {staging.role} may not execute it, which is as it should be"
            answer = _as_expression(function, source)
        [(count, different, examples)] = connection.execute(comparison.replace("[answer]", answer).encode()).fetchall()
    evidence(function, {"asked": asked, "answers compared": count, "different": different})
    assert count > 0
    require_none([f"{different} of {count} answers differ, such as for {examples}"] if different else [])


def _as_expression(function: str, source: str) -> str:
    """What a function of Phase 1's own returns, as an expression over ``given``."""
    body = re.fullmatch(r"\s*#variable_conflict use_column\s+BEGIN\s+RETURN\s+(.+);\s*END;?\s*", source, re.DOTALL)
    assert body is not None, "it is the migration's, and that has changed"
    expression = re.sub(rf"\b{function}\.", "given.", body[1])
    return f"({expression})"
