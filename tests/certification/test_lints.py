"""What linters of others look for in a database: the migration adds nothing to it.

The ideas are those of Supabase's linter; each lint here is one query, which returns the objects that it finds.
Squawk reads the SQL itself: tests/tools/test_sql_lint.py.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.plugins.certificate import Evidence
from tests.plugins.database import Database, Templates


@dataclass(frozen=True)
class Lint:
    """A query for what is wrong, and for its own test a near miss, a case, and what mends it."""

    query: str
    near_miss: str
    planted: str
    mended: str
    found: str


LINTS = {
    "function without a fixed search_path": Lint(
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace"
        " AND p.prokind IN ('f', 'p', 'w') AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting"
        " WHERE setting LIKE 'search_path=%') AND NOT EXISTS (SELECT FROM pg_depend AS d"
        " WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')",
        "CREATE FUNCTION public.planted() RETURNS int LANGUAGE sql SET search_path = '' AS 'SELECT 1'",
        "ALTER FUNCTION public.planted() RESET search_path",
        "ALTER FUNCTION public.planted() SET search_path = pg_catalog",
        "public.planted()",
    ),
    "table of public without row security": Lint(
        "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace"
        " AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity",
        "CREATE TABLE public.planted (); ALTER TABLE public.planted ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE public.planted DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE public.planted ENABLE ROW LEVEL SECURITY",
        "public.planted",
    ),
    "policy on a table without row security": Lint(
        "SELECT DISTINCT c.oid::regclass::text FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid"
        " WHERE NOT c.relrowsecurity",
        "CREATE TABLE public.planted (); ALTER TABLE public.planted ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY planted ON public.planted USING (TRUE)",
        "ALTER TABLE public.planted DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE public.planted ENABLE ROW LEVEL SECURITY",
        "public.planted",
    ),
    "row security without a policy": Lint(
        "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace"
        " AND c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid)",
        "CREATE TABLE public.planted (); ALTER TABLE public.planted ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY planted ON public.planted USING (TRUE)",
        "DROP POLICY planted ON public.planted",
        "CREATE POLICY planted ON public.planted USING (FALSE)",
        "public.planted",
    ),
    "SECURITY DEFINER function for anon or authenticated": Lint(
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace"
        " AND p.prosecdef AND (has_function_privilege('anon', p.oid, 'EXECUTE')"
        " OR has_function_privilege('authenticated', p.oid, 'EXECUTE'))",
        "CREATE FUNCTION public.planted() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = ''"
        " AS 'SELECT 1'; REVOKE ALL ON FUNCTION public.planted() FROM PUBLIC, anon, authenticated",
        "GRANT EXECUTE ON FUNCTION public.planted() TO PUBLIC",
        "ALTER FUNCTION public.planted() SECURITY INVOKER",
        "public.planted()",
    ),
    "foreign key without an index": Lint(
        "SELECT format('%s: %s', k.conrelid::regclass, k.conname) FROM pg_constraint AS k WHERE k.contype = 'f'"
        " AND k.connamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_index AS x"
        " WHERE x.indrelid = k.conrelid AND x.indisvalid AND x.indpred IS NULL"
        # An int2vector counts from 0.
        " AND (x.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)",
        "CREATE TABLE public.planted (a bigint, b bigint, UNIQUE (a, b), FOREIGN KEY (a, b)"
        " REFERENCES public.planted (a, b)); CREATE INDEX near ON public.planted (b, a)",
        "ALTER TABLE public.planted ADD c bigint UNIQUE, ADD d bigint REFERENCES public.planted (c);"
        " CREATE INDEX miss ON public.planted (a, d); CREATE INDEX partial ON public.planted (d) WHERE d > 0",
        "CREATE INDEX mended ON public.planted (d, a)",
        "public.planted: planted_d_fkey",
    ),
    "duplicate index": Lint(
        "SELECT x.indexrelid::regclass::text FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND EXISTS (SELECT FROM pg_index AS y"
        " WHERE y.indrelid = x.indrelid AND y.indexrelid > x.indexrelid AND y.indkey = x.indkey"
        " AND y.indclass = x.indclass AND y.indoption = x.indoption AND y.indcollation = x.indcollation"
        " AND pg_get_expr(y.indexprs, y.indrelid) IS NOT DISTINCT FROM pg_get_expr(x.indexprs, x.indrelid)"
        " AND pg_get_expr(y.indpred, y.indrelid) IS NOT DISTINCT FROM pg_get_expr(x.indpred, x.indrelid))",
        "CREATE TABLE public.planted (a int); CREATE INDEX planted_a ON public.planted (a);"
        " CREATE INDEX planted_descending ON public.planted (a DESC);"
        " CREATE INDEX planted_partial ON public.planted (a) WHERE a > 0",
        "CREATE INDEX planted_again ON public.planted (a)",
        "DROP INDEX public.planted_again",
        "public.planted_a",
    ),
}


def _findings(database: Database, lint: Lint) -> set[str]:
    with closing(database.connect()) as connection:
        connection.execute("SET search_path = ''")  # names in full
        return {name for (name,) in connection.execute(lint.query.encode())}


@pytest.mark.claim("lints-of-others-stay-quiet")
@pytest.mark.parametrize("name", LINTS)
def test_migration_adds_nothing_that_a_linter_finds(
    templates: Templates, variant: str, name: str, evidence: Evidence
) -> None:
    """What a lint finds after the migration it has found before it.

    The dashboard of the next morning would show warnings that were not there, and somebody would "mend" them.
    """
    before, after = templates.clone(f"{variant}-tiny"), templates.clone(f"{variant}-tiny-migrated")
    there, then = _findings(before, LINTS[name]), _findings(after, LINTS[name])
    before.drop()
    after.drop()
    evidence(name, {"before": sorted(there), "added": sorted(then - there)})
    assert then - there == set()


@pytest.mark.claim("lints-of-others-stay-quiet")
@pytest.mark.parametrize("name", LINTS)
def test_lint_finds_its_case_and_nothing_else(templates: Templates, name: str) -> None:
    """Each lint is quiet on the near miss, finds the planted case, and is quiet again once that is mended.

    A lint that finds nothing at all is quiet about everything.
    """
    lint = LINTS[name]
    database = templates.clone("founding-tiny-migrated")
    before = _findings(database, lint)
    for statements, expected in ((lint.near_miss, set()), (lint.planted, {lint.found}), (lint.mended, set())):
        database.execute(statements)
        assert _findings(database, lint) - before == expected, statements
    database.drop()
