"""The mutants that nobody could tell from the original, and why: tests/mutants.py does not run them."""

from __future__ import annotations

_SHORTER = (
    "a column of an index that is an expression has no name: with the outer join the list of names has a NULL "
    "there, with the inner one it is shorter, and neither is equal to the names that are wanted"
)

#: By file, section, operator, and the line with the change in it.
EQUIVALENT: dict[tuple[str, str, str, str], str] = {
    (
        "sql/phase_1_multitenant_schema.sql",
        "create_pgcrypto",
        "statement left out",
        "[CREATE EXTENSION pgcrypto WITH SCHEMA public; → ]",
    ): "PostgreSQL 13 and later never run it; on 12, `pytest --pg 12`, nothing can be created without it",
    (
        "sql/phase_1_preflight.sql",
        "index_name_is_free",
        "LEFT JOIN narrowed",
        "[LEFT JOIN → JOIN] pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]",
    ): _SHORTER,
    (
        "sql/phase_1_verify.sql",
        "indexes_are_there",
        "LEFT JOIN narrowed",
        "[LEFT JOIN → JOIN] pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]",
    ): _SHORTER,
}
