"""The fingerprint: it sees every change of a catalog, names it, and sees none where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

from phase_1.fingerprint import Fingerprint, canonical, difference, fingerprint, sha256
from tests.plugins.database import Database, Row, Templates


class Change(NamedTuple):
    """A change of the catalog: what makes it, how a line about it begins, and what stands before it.

    ``also`` are other objects that it changes as well.
    """

    sql: str
    line: str
    before: str = ""
    also: tuple[str, ...] = ()


CHANGES = {
    "schema": Change("CREATE SCHEMA more", "schema more: is there"),
    "schema owner": Change("ALTER SCHEMA auth OWNER TO app_owner", "schema auth: owner is"),
    "schema grant": Change("GRANT USAGE ON SCHEMA auth TO staging_reader", "schema auth: grants is"),
    "schema comment": Change("COMMENT ON SCHEMA auth IS 'x'", "schema auth: comment is"),
    "table": Change("CREATE TABLE public.more ()", "table public.more: is there"),
    "table that is a view": Change(
        "DROP VIEW public.v; CREATE TABLE public.v ()", "view public.v: is there", "CREATE VIEW public.v AS SELECT"
    ),
    "table owner": Change("ALTER TABLE public.users OWNER TO postgres", "table public.users: owner is"),
    "table persistence": Change(
        "ALTER TABLE public.users_log SET UNLOGGED",
        "table public.users_log: persistence is",
        "CREATE TABLE public.users_log ()",
    ),
    "table options": Change("ALTER TABLE public.users SET (fillfactor = 70)", "table public.users: options is"),
    "toast options": Change(
        "ALTER TABLE public.users SET (toast.autovacuum_enabled = off)", "table public.users: toast options is"
    ),
    "table grant": Change("GRANT SELECT ON public.users TO staging_reader", "table public.users: grants is"),
    "table grant option": Change(
        "GRANT SELECT ON public.users TO anon WITH GRANT OPTION", "table public.users: grants is"
    ),
    "table comment": Change("COMMENT ON TABLE public.users IS NULL", "table public.users: comment is"),
    "row security": Change(
        "ALTER TABLE public.users DISABLE ROW LEVEL SECURITY", "table public.users: row security is"
    ),
    "forced row security": Change(
        "ALTER TABLE public.users FORCE ROW LEVEL SECURITY", "table public.users: forced row security is"
    ),
    "replica identity": Change(
        "ALTER TABLE public.users REPLICA IDENTITY FULL", "table public.users: replica identity is"
    ),
    "partition": Change(
        "ALTER TABLE public.part DETACH PARTITION public.part_1",
        "table public.part_1: partition of is",
        "CREATE TABLE public.part (i int) PARTITION BY LIST (i);"
        "CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES IN (1)",
    ),
    "partition key": Change(
        "DROP TABLE public.part; CREATE TABLE public.part (i int) PARTITION BY RANGE (i)",
        "table public.part: partitioned by is",
        "CREATE TABLE public.part (i int) PARTITION BY LIST (i)",
    ),
    "inheritance": Change(
        "ALTER TABLE public.child NO INHERIT public.parent",
        "table public.child: parents is",
        "CREATE TABLE public.parent (); CREATE TABLE public.child () INHERITS (public.parent)",
    ),
    "column": Change("ALTER TABLE public.users ADD COLUMN client_id uuid", "table public.users: column client_id: is"),
    "column order": Change(
        "ALTER TABLE public.users DROP COLUMN full_name; ALTER TABLE public.users ADD COLUMN full_name text",
        "table public.users: column full_name: position is",
    ),
    "column type": Change(
        "ALTER TABLE public.products ALTER COLUMN list_price_eur TYPE numeric(11, 2)",
        "table public.products: column list_price_eur: type is",
    ),
    "column collation": Change(
        'ALTER TABLE public.products ALTER COLUMN category TYPE text COLLATE "C"',
        "table public.products: column category: collation is",
    ),
    "column default": Change(
        "ALTER TABLE public.products ALTER COLUMN is_active SET DEFAULT FALSE",
        "table public.products: column is_active: default is",
    ),
    "NOT NULL": Change(
        "ALTER TABLE public.products ALTER COLUMN category SET NOT NULL",
        "table public.products: column category: required is",
    ),
    "identity": Change(
        "ALTER TABLE public.sellout_entries2 ALTER COLUMN id SET GENERATED ALWAYS",
        "table public.sellout_entries2: column id: identity is",
    ),
    "generated": Change(
        "ALTER TABLE public.made DROP COLUMN twice; ALTER TABLE public.made ADD COLUMN twice int",
        "table public.made: column twice: generated is",
        "CREATE TABLE public.made (i int, twice int GENERATED ALWAYS AS (i * 2) STORED)",
    ),
    "column comment": Change(
        "COMMENT ON COLUMN public.users.email IS 'x'", "table public.users: column email: comment is"
    ),
    "column grant": Change(
        "GRANT SELECT (email) ON public.users TO staging_reader", "table public.users: column email: grants is"
    ),
    "column storage": Change(
        "ALTER TABLE public.users ALTER COLUMN email SET STORAGE MAIN", "table public.users: column email: storage is"
    ),
    "column statistics": Change(
        "ALTER TABLE public.users ALTER COLUMN email SET STATISTICS 500",
        "table public.users: column email: statistics target is",
    ),
    "column options": Change(
        "ALTER TABLE public.users ALTER COLUMN email SET (n_distinct = 5)",
        "table public.users: column email: options is",
    ),
    "constraint": Change(
        "ALTER TABLE public.products ADD CHECK (name <> '')",
        "table public.products: constraint products_name_check: is there",
    ),
    "constraint definition": Change(
        "ALTER TABLE public.products DROP CONSTRAINT c, ADD CONSTRAINT c CHECK (ean <> 'y')",
        "table public.products: constraint c: definition is",
        "ALTER TABLE public.products ADD CONSTRAINT c CHECK (ean <> 'x')",
    ),
    "foreign key action": Change(
        "ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey;"
        "ALTER TABLE public.uploads ADD FOREIGN KEY (user_id) REFERENCES public.users (id) ON DELETE CASCADE",
        "table public.uploads: constraint uploads_user_id_fkey: definition is",
    ),
    "validity of a constraint": Change(
        "ALTER TABLE public.products VALIDATE CONSTRAINT c",
        "table public.products: constraint c: validated is",
        "ALTER TABLE public.products ADD CONSTRAINT c CHECK (ean <> 'x') NOT VALID",
    ),
    "triggers of a foreign key": Change(
        "ALTER TABLE public.uploads DISABLE TRIGGER ALL",
        "table public.uploads: constraint uploads_user_id_fkey: triggers is",
        also=("_fkey: triggers is",),
    ),
    "index": Change("CREATE INDEX more ON public.users (full_name)", "index public.more: is there"),
    "index definition": Change(
        "DROP INDEX public.uploads_user_id_idx; CREATE INDEX uploads_user_id_idx ON public.uploads (user_id DESC)",
        "index public.uploads_user_id_idx: definition is",
    ),
    "index validity": Change(
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'public.uploads_user_id_idx'::regclass",
        "index public.uploads_user_id_idx: valid is",
    ),
    "index readiness": Change(
        "UPDATE pg_index SET indisready = FALSE WHERE indexrelid = 'public.uploads_user_id_idx'::regclass",
        "index public.uploads_user_id_idx: ready is",
    ),
    "clustered index": Change(
        "ALTER TABLE public.uploads CLUSTER ON uploads_user_id_idx",
        "index public.uploads_user_id_idx: clustered is",
    ),
    "function": Change(
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function public.f(): is there"
    ),
    "function body": Change(
        "CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "function public.f(): body is",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    "function language": Change(
        "CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
        "function public.f(): language is",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    "function arguments": Change(
        "DROP FUNCTION public.f(int);CREATE FUNCTION public.f(b int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "function public.f(integer): arguments is",
        "CREATE FUNCTION public.f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    "function result": Change(
        "DROP FUNCTION public.f(); CREATE FUNCTION public.f() RETURNS SETOF int LANGUAGE sql AS 'SELECT 1'",
        "function public.f(): result is",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    "function volatility": Change("ALTER FUNCTION auth.uid() IMMUTABLE", "function auth.uid(): volatility is"),
    "function security": Change("ALTER FUNCTION auth.uid() SECURITY DEFINER", "function auth.uid(): security is"),
    "function parallel": Change("ALTER FUNCTION auth.uid() PARALLEL SAFE", "function auth.uid(): parallel is"),
    "function strict": Change("ALTER FUNCTION auth.uid() STRICT", "function auth.uid(): strict is"),
    "function cost": Change("ALTER FUNCTION auth.uid() COST 7", "function auth.uid(): cost is"),
    "function settings": Change("ALTER FUNCTION auth.uid() SET search_path = ''", "function auth.uid(): settings is"),
    "function grant": Change("REVOKE EXECUTE ON FUNCTION auth.uid() FROM PUBLIC", "function auth.uid(): grants is"),
    "function owner": Change("ALTER FUNCTION auth.uid() OWNER TO app_owner", "function auth.uid(): owner is"),
    "function comment": Change("COMMENT ON FUNCTION auth.uid() IS 'x'", "function auth.uid(): comment is"),
    "aggregate": Change(
        "DROP AGGREGATE public.total(int);"
        "CREATE AGGREGATE public.total(int) (SFUNC = int4larger, STYPE = int, INITCOND = '1')",
        "function public.total(integer): aggregate is",
        "CREATE AGGREGATE public.total(int) (SFUNC = int4larger, STYPE = int)",
    ),
    "trigger": Change(
        "DROP TRIGGER on_auth_user_created ON auth.users",
        "table auth.users: trigger on_auth_user_created: is there",
    ),
    "trigger definition": Change(
        "DROP TRIGGER prepare_sale ON public.sellout_entries2; CREATE TRIGGER prepare_sale BEFORE INSERT"
        " ON public.sellout_entries2 FOR EACH ROW EXECUTE FUNCTION public.prepare_sale()",
        "table public.sellout_entries2: trigger prepare_sale: definition is",
    ),
    "trigger state": Change(
        "ALTER TABLE public.sellout_entries2 DISABLE TRIGGER prepare_sale",
        "table public.sellout_entries2: trigger prepare_sale: enabled is",
    ),
    "policy": Change("DROP POLICY users_read ON public.users", "table public.users: policy users_read: is there"),
    "policy roles": Change(
        "ALTER POLICY users_read ON public.users TO PUBLIC", "table public.users: policy users_read: roles is"
    ),
    "policy condition": Change(
        "ALTER POLICY users_read ON public.users USING (FALSE)", "table public.users: policy users_read: using is"
    ),
    "policy check": Change(
        "ALTER POLICY users_update_own ON public.users WITH CHECK (TRUE)",
        "table public.users: policy users_update_own: check is",
    ),
    "policy kind": Change(
        "DROP POLICY users_read ON public.users; CREATE POLICY users_read ON public.users AS RESTRICTIVE"
        " FOR SELECT TO authenticated USING (TRUE)",
        "table public.users: policy users_read: permissive is",
    ),
    "rule": Change(
        "CREATE RULE quiet AS ON DELETE TO public.users DO INSTEAD NOTHING",
        "table public.users: rule quiet: is there",
    ),
    "view definition": Change(
        "CREATE OR REPLACE VIEW public.returned_sales AS SELECT * FROM public.sellout_entries2",
        "view public.returned_sales: definition is",
    ),
    "view options": Change(
        "ALTER VIEW public.returned_sales SET (security_barrier)", "view public.returned_sales: options is"
    ),
    "materialized view": Change(
        "REFRESH MATERIALIZED VIEW public.m WITH NO DATA",
        "materialized view public.m: populated is",
        "CREATE MATERIALIZED VIEW public.m AS SELECT 1 AS one",
    ),
    "enum": Change("CREATE TYPE public.mood AS ENUM ('good')", "type public.mood: is there"),
    "enum label": Change(
        "ALTER TYPE public.mood RENAME VALUE 'bad' TO 'worse'",
        "type public.mood: labels is",
        "CREATE TYPE public.mood AS ENUM ('good', 'bad')",
    ),
    "domain check": Change(
        "ALTER DOMAIN public.ean ADD CHECK (VALUE <> '')",
        "type public.ean: constraints is",
        "CREATE DOMAIN public.ean AS text",
    ),
    "domain NOT NULL": Change(
        "ALTER DOMAIN public.ean SET NOT NULL", "type public.ean: required is", "CREATE DOMAIN public.ean AS text"
    ),
    "domain default": Change(
        "ALTER DOMAIN public.ean SET DEFAULT 'x'", "type public.ean: default is", "CREATE DOMAIN public.ean AS text"
    ),
    "composite type": Change(
        "ALTER TYPE public.pair ADD ATTRIBUTE c int",
        "type public.pair: attributes is",
        "CREATE TYPE public.pair AS (a int, b int)",
    ),
    "range type": Change(
        "DROP TYPE public.span; CREATE TYPE public.span AS RANGE (SUBTYPE = int8)",
        "type public.span: range of is",
        "CREATE TYPE public.span AS RANGE (SUBTYPE = int4)",
    ),
    "sequence": Change("CREATE SEQUENCE public.more", "sequence public.more: is there"),
    "sequence type": Change(
        "ALTER SEQUENCE public.processing_logs_id_seq AS integer", "sequence public.processing_logs_id_seq: type is"
    ),
    "sequence options": Change(
        "ALTER SEQUENCE public.processing_logs_id_seq INCREMENT 2",
        "sequence public.processing_logs_id_seq: increment is",
    ),
    "sequence owner column": Change(
        "ALTER SEQUENCE public.processing_logs_id_seq OWNED BY NONE",
        "sequence public.processing_logs_id_seq: owned by is",
    ),
    "sequence grant": Change(
        "GRANT USAGE ON SEQUENCE public.processing_logs_id_seq TO staging_reader",
        "sequence public.processing_logs_id_seq: grants is",
    ),
    "statistics": Change(
        "CREATE STATISTICS public.more ON year, month FROM public.sellout_entries2", "statistics public.more: is there"
    ),
    "default privileges": Change(
        "ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA public REVOKE ALL ON TABLES FROM anon",
        "default privileges of app_owner in schema public on tables: grants is",
    ),
    "default privileges everywhere": Change(
        "ALTER DEFAULT PRIVILEGES FOR ROLE app_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
        "default privileges of app_owner on functions: is there",
    ),
    "extension": Change(
        "DROP EXTENSION plpgsql CASCADE", "extension plpgsql: is there", also=("function ", "trigger ")
    ),
    "publication": Change("CREATE PUBLICATION more", "publication more: is there"),
    "publication actions": Change(
        "ALTER PUBLICATION more SET (publish = 'insert')", "publication more: actions is", "CREATE PUBLICATION more"
    ),
    "publication table": Change(
        "ALTER PUBLICATION more ADD TABLE public.users",
        "publication more: table public.users: is there",
        "CREATE PUBLICATION more",
    ),
    "event trigger": Change(
        "CREATE EVENT TRIGGER more ON sql_drop EXECUTE FUNCTION public.e()",
        "event trigger more: is there",
        "CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    ),
    "event trigger state": Change(
        "ALTER EVENT TRIGGER more DISABLE",
        "event trigger more: enabled is",
        "CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER more ON sql_drop EXECUTE FUNCTION public.e()",
    ),
}


@pytest.fixture
def deployed(templates: Templates) -> Iterator[Database]:
    made = templates.clone("deployed-empty")
    yield made
    made.drop()


@pytest.fixture(scope="module")
def workbench(templates: Templates) -> Iterator[psycopg.Connection[Row]]:
    """A connection on which everything is rolled back: a hundred clones would take half a minute."""
    made = templates.clone("deployed-empty")
    yield made.connect()
    made.drop()


@pytest.mark.parametrize("name", CHANGES)
def test_fingerprint_names_the_change(workbench: psycopg.Connection[Row], name: str) -> None:
    """A minimal change of any kind of object is seen, and the difference names the object and nothing else.

    Otherwise a rollback that leaves something behind is certified.
    """
    change = CHANGES[name]
    with workbench.transaction(force_rollback=True):
        workbench.execute(change.before.encode())
        before = fingerprint(workbench)
        workbench.execute(change.sql.encode())
        after = fingerprint(workbench)
    lines = difference(before, after)
    assert any(line.startswith(change.line) for line in lines), lines
    assert sha256(before) != sha256(after)
    named = change.line.partition(":")[0].partition(" ")[2]
    assert all(named in line or any(each in line for each in change.also) for line in lines), lines


def test_difference_says_a_table_that_is_gone_once_and_values_as_they_were_written() -> None:
    """What belongs to an object of one side only goes unsaid, and a value is shown as its author wrote it.

    Otherwise one table that is missing is thirty lines, and a comment that changed cannot be read.
    """
    here: Fingerprint = {
        "table public.t": {"comment": "größer"},
        "table public.t: column a": {},
        "table public.u": {},
        "table public.u: column a": {"type": "text"},
    }
    assert difference(here, {"table public.t": {"comment": None}}, ("database", "file")) == [
        'table public.t: comment is "größer" in the database, not set in the file',
        "table public.t: column a: is there in the database only",
        "table public.u: is there in the database only",
    ]


@pytest.mark.pg(">= 15")
def test_fingerprint_names_what_only_newer_versions_have(deployed: Database) -> None:
    """The rows, columns and schemas of a publication, the body of an SQL function and a compression are seen.

    Otherwise what a newer server brings is not compared.
    """
    connection = deployed.connect()
    connection.execute(b"CREATE PUBLICATION more FOR TABLE public.users")
    connection.execute(b"CREATE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 1")
    before = fingerprint(connection)
    connection.execute(b"ALTER PUBLICATION more SET TABLE public.users (id) WHERE (id IS NOT NULL)")
    connection.execute(b"CREATE OR REPLACE FUNCTION public.f() RETURNS int LANGUAGE sql RETURN 2")
    connection.execute(b"CREATE PUBLICATION whole FOR TABLES IN SCHEMA auth")
    connection.execute(b"ALTER TABLE public.users ALTER COLUMN email SET COMPRESSION pglz")
    lines = difference(before, fingerprint(connection))
    for beginning in (
        "function public.f(): sql body is",
        "publication more: table public.users: columns is",
        "publication more: table public.users: rows is",
        "publication whole: is there",
        "table public.users: column email: compression is",
    ):
        assert any(line.startswith(beginning) for line in lines), (beginning, lines)
    assert any(name == "publication whole: schema auth" for name in fingerprint(connection))


@pytest.mark.pg(">= 18")
def test_fingerprint_names_a_not_null_that_is_not_valid(deployed: Database) -> None:
    """A NOT NULL that was never validated, or has a name of its own, is not the same as any other.

    Otherwise PostgreSQL 18 holds rows that the fingerprint says it cannot hold.
    """
    connection = deployed.connect()
    connection.execute(b"ALTER TABLE public.products ADD CONSTRAINT mine NOT NULL category NOT VALID")
    found = fingerprint(connection)
    assert found["table public.products: column category"]["required"] == "NOT NULL named mine NOT VALID"
    assert found["table public.products: column name"]["required"] == "NOT NULL"
    assert "table public.products: constraint mine" not in found


def test_fingerprints_of_two_clones_are_equal(templates: Templates, variant: str) -> None:
    """Two databases made alike on one server have the same fingerprint, whatever their oids.

    Otherwise a database that is as it was is reported as changed.
    """
    one, other = templates.clone(f"{variant}-migrated"), templates.clone(f"{variant}-migrated")
    try:
        # Oids and attribute numbers move on, and nothing else does.
        other.execute(
            "ALTER TABLE public.users ADD COLUMN gone int; ALTER TABLE public.users DROP COLUMN gone;"
            "DROP INDEX public.idx_users_client_created_at;"
            "CREATE INDEX idx_users_client_created_at ON public.users (client_id, created_at DESC)"
        )
        first, second = fingerprint(one.connect()), fingerprint(other.connect())
        assert difference(first, second) == []
        assert sha256(first) == sha256(second)
    finally:
        one.drop()
        other.drop()


def test_fingerprint_is_independent_of_the_session(migrated: Database) -> None:
    """The settings of the session change nothing in the fingerprint, and it changes none of them.

    Otherwise the runner and the suite, who set other paths, would not mean the same.
    """
    connection = migrated.connect()
    plain = canonical(fingerprint(connection))
    settings = {
        "search_path": "public, auth",
        "quote_all_identifiers": "on",
        "datestyle": "German",
        "timezone": "Asia/Tokyo",
        "intervalstyle": "sql_standard",
    }
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    shown = "SELECT name, setting FROM pg_settings ORDER BY name"
    before = connection.execute(shown).fetchall()
    assert canonical(fingerprint(connection)) == plain
    assert connection.execute(shown).fetchall() == before
    with connection.transaction():
        assert canonical(fingerprint(connection)) == plain
        assert connection.execute(shown).fetchall() == before


def test_fingerprint_sees_what_a_grant_means_and_not_how_it_is_stored(deployed: Database) -> None:
    """Grants in another order, and the default written out, are no difference.

    Otherwise a REVOKE and GRANT that cancel each other out are reported.
    """
    connection = deployed.connect()
    connection.execute(b"CREATE TABLE public.mine ()")
    connection.execute(b"CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    before = fingerprint(connection)
    connection.execute(b"GRANT SELECT ON public.mine TO anon")
    connection.execute(b"REVOKE SELECT ON public.mine FROM anon")
    connection.execute(b"REVOKE ALL ON FUNCTION public.f() FROM PUBLIC")
    connection.execute(b"GRANT EXECUTE ON FUNCTION public.f() TO PUBLIC")
    connection.execute(b"REVOKE ALL ON public.users FROM anon")
    connection.execute(b"GRANT ALL ON public.users TO anon")
    assert difference(before, fingerprint(connection)) == []


def test_fingerprint_leaves_out_what_is_excluded(deployed: Database) -> None:
    """A table that is excluded is left out with all that hangs on it, and nothing else is.

    Otherwise the log, which outlives a rollback by design, hides whatever else does.
    """
    connection = deployed.connect()
    before = fingerprint(connection, exclude=["public.kept"])
    connection.execute(
        b"CREATE TABLE public.kept (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int CHECK (n > 0));"
        b"ALTER TABLE public.kept ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.kept USING (TRUE);"
        b"CREATE STATISTICS public.s ON id, n FROM public.kept"
    )
    assert difference(before, fingerprint(connection, exclude=["public.kept"])) == []
    assert len(fingerprint(connection)) > len(before)
    connection.execute(b"CREATE TABLE public.kept_not ()")
    assert difference(before, fingerprint(connection, exclude=["public.kept"])) == [
        "table public.kept_not: is there in the second only"
    ]


def test_fingerprint_keeps_to_the_schemas_that_are_named(deployed: Database) -> None:
    """With schemas named, nothing outside of them is in it.

    Otherwise a host that changes its own schemas makes a migration look guilty.
    """
    connection = deployed.connect()
    found = fingerprint(connection, schemas=["auth"])
    assert {name.partition(":")[0] for name in found} == {
        "schema auth",
        "table auth.users",
        "index auth.users_email_key",
        "index auth.users_pkey",
        "function auth.uid()",
    }


def test_fingerprint_is_read_by_who_owns_nothing(deployed: Database) -> None:
    """Any role that may connect can read it, in a transaction that only reads.

    Otherwise a staging database could not be looked at without rights to change it.
    """
    reader = deployed.connect("staging_reader")
    reader.execute("SET default_transaction_read_only = on")
    assert difference(fingerprint(reader), fingerprint(deployed.connect())) == []


def test_fingerprint_leaves_a_failed_transaction_to_its_owner(deployed: Database) -> None:
    """In a transaction that has failed it fails too, instead of ending it.

    Otherwise whoever compares loses work that was not the fingerprint's to lose.
    """
    connection = deployed.connect(autocommit=False)
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("TABLE public.nowhere")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        fingerprint(connection)
