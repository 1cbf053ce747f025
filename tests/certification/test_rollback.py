"""The way back: everything is as it was, nothing that was built on top is lost, and what is lost is shown."""

from __future__ import annotations

import io
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from migrate import DELETE_WORDS
from phase_1 import apply
from phase_1.fingerprint import Fingerprint, difference, fingerprint
from phase_1.inventory import DEFAULT_ORGANIZATION, NEW_TABLES, TABLES
from tests.application import former
from tests.application.statements import OLD_STATEMENTS
from tests.application.statements import run as say
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Row, Templates
from tests.support.looking import differing, wait_for_who_waits
from tests.support.proxy import Proxy, Statement
from tests.support.runner import Run, run
from tests.support.ways import MODES

NAMES = [table.name for table in TABLES]
LOG = "public.migration_log"
ACME, BETA = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def objects(database: Database, *exclude: str) -> Fingerprint:
    with database.connect() as connection:
        return fingerprint(connection, exclude=exclude)


def migrate(database: Database, *arguments: str) -> Run:
    done = run("--dsn", database.owner_dsn, "--force", *arguments)
    assert done.status == 0, done.out + done.err
    return done


def roll_back(database: Database, *arguments: str) -> Run:
    return run("--dsn", database.owner_dsn, "--rollback", "--force", *arguments)


# The schema --------------------------------------------------------------------------------------------


@pytest.mark.claim("rollback-restores-schema")
@MODES
def test_schema_is_as_before_after_the_rollback(database: Database, mode: list[str], evidence: Evidence) -> None:
    """The dump of the schema and the fingerprint of the catalog are equal before and after; only the log stays.

    Otherwise who goes back is left with a database that nobody has tested the application on.
    """
    dump, before = database.dump(), objects(database)
    migrate(database, *mode)
    made = difference(before, objects(database))
    assert len(made) > 30
    done = roll_back(database, *mode)
    assert done.status == 0, done.err
    assert difference(before, objects(database, LOG)) == []
    assert objects(database, LOG) == before
    assert all("public.migration_log" in line for line in difference(before, objects(database)))
    database.execute(f"DROP TABLE {LOG}")
    assert database.dump() == dump
    evidence("objects that the migration made, all of which are gone", made)


@pytest.mark.claim("rollback-restores-schema")
@MODES
def test_nothing_at_all_is_left_when_the_log_is_purged(database: Database, mode: list[str]) -> None:
    """With --purge-log the schema is wholly as it was, also when it is asked for after the rollback.

    Otherwise a rehearsal on a copy leaves something that the next one takes for work that is done.
    """
    dump, before = database.dump(), objects(database)
    migrate(database, *mode)
    assert roll_back(database, *mode, "--purge-log").status == 0
    assert database.dump() == dump
    assert objects(database) == before
    migrate(database, *mode)
    assert roll_back(database, *mode).status == 0
    assert roll_back(database, *mode, "--purge-log").status == 0
    assert objects(database) == before


@pytest.mark.claim("rollback-restores-schema", "rollback-restores-rows")
def test_database_goes_there_and_back_again_and_again(database: Database) -> None:
    """Migrated, rolled back, migrated and rolled back, in either mode, each stage is as it was the first time.

    Otherwise a rehearsal that was taken back makes the real run fail.
    """
    before, rows = objects(database, LOG), database.rows_with_xmin()
    migrate(database)
    after = objects(database, LOG)
    for back, there in (([], ["--online"]), (["--online"], []), (["--online"], ["--online", "--jobs", "2"])):
        assert roll_back(database, *back).status == 0
        assert difference(before, objects(database, LOG)) == []
        migrate(database, *there)
        assert difference(after, objects(database, LOG)) == []
    assert roll_back(database).status == 0
    assert difference(before, objects(database, LOG)) == []
    assert differing(database.rows_with_xmin(), rows) == [], "tables with other rows than before"


# The rows ----------------------------------------------------------------------------------------------


@pytest.mark.claim("rollback-restores-rows")
@MODES
def test_rows_are_as_before_after_the_rollback(database: Database, mode: list[str]) -> None:
    """No row is written by the rollback either: each has its place, its transaction and its values.

    Otherwise the way back takes the hours that the way there did not.
    """
    rows = database.rows_with_xmin()
    migrate(database, *mode)
    assert roll_back(database, *mode).status == 0
    assert differing(database.rows_with_xmin(), rows) == [], "tables with other rows than before"


@pytest.mark.claim("rollback-restores-rows")
@MODES
def test_rows_that_the_application_wrote_since_then_stay(migrated: Database, mode: list[str]) -> None:
    """What the application has added, changed and deleted between migration and rollback is kept.

    Otherwise going back loses the work of everybody who was at it meanwhile.
    """
    before = migrated.checksum()
    with migrated.connect("app_owner") as connection:
        for statement in OLD_STATEMENTS[migrated.variant]:
            say(connection, statement)
    changed = migrated.rows_with_xmin()
    assert all(migrated.checksum()[table] != before[table] for table in NAMES)
    assert roll_back(migrated, *mode).status == 0
    assert differing(migrated.rows_with_xmin(), changed) == []


# What was built on top ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dependent:
    """Something that was built on Phase 1: how it is made, what it is called, and how it is dropped."""

    made_by: str
    object: str
    dropped_by: str
    pg: str = ""


DEPENDENTS = {
    "view on client_id": Dependent(
        "CREATE VIEW public.mine AS SELECT client_id, count(*) FROM public.sellout_entries2 GROUP BY 1",
        "view public.mine",
        "DROP VIEW public.mine",
    ),
    "view on organizations": Dependent(
        "CREATE VIEW public.mine AS SELECT name FROM public.organizations",
        "view public.mine",
        "DROP VIEW public.mine",
    ),
    "materialized view": Dependent(
        "CREATE MATERIALIZED VIEW public.mine AS SELECT client_id FROM public.users",
        "materialized view public.mine",
        "DROP MATERIALIZED VIEW public.mine",
    ),
    "foreign key to organizations": Dependent(
        "CREATE TABLE public.bills (organization_id uuid REFERENCES public.organizations (id))",
        "constraint bills_organization_id_fkey on table public.bills",
        "DROP TABLE public.bills",
    ),
    "foreign key to memberships": Dependent(
        "CREATE TABLE public.bills (member uuid REFERENCES public.user_organizations (id))",
        "constraint bills_member_fkey on table public.bills",
        "DROP TABLE public.bills",
    ),
    "index on client_id": Dependent(
        "CREATE INDEX mine ON public.products (client_id, name)", "index public.mine", "DROP INDEX public.mine"
    ),
    "index where client_id": Dependent(
        f"CREATE INDEX mine ON public.products (name) WHERE client_id = '{DEFAULT_ORGANIZATION}'",
        "index public.mine",
        "DROP INDEX public.mine",
    ),
    "unique by client": Dependent(
        "ALTER TABLE public.products ADD CONSTRAINT mine UNIQUE (client_id, ean)",
        "constraint mine on table public.products",
        "ALTER TABLE public.products DROP CONSTRAINT mine",
    ),
    "check of client_id": Dependent(
        "ALTER TABLE public.products ADD CONSTRAINT mine CHECK (client_id <> md5('')::uuid)",
        "constraint mine on table public.products",
        "ALTER TABLE public.products DROP CONSTRAINT mine",
    ),
    "policy on client_id": Dependent(
        "CREATE POLICY mine ON public.products FOR SELECT TO authenticated USING (client_id = auth.uid())",
        "policy mine on table public.products",
        "DROP POLICY mine ON public.products",
    ),
    "policy by our function": Dependent(
        "CREATE POLICY mine ON public.products FOR SELECT TO authenticated"
        " USING (public.validate_client_access(auth.uid(), id))",
        "policy mine on table public.products",
        "DROP POLICY mine ON public.products",
    ),
    "policy on organizations": Dependent(
        "CREATE POLICY mine ON public.organizations FOR SELECT TO service_role USING (is_active)",
        "policy mine on table public.organizations",
        "DROP POLICY mine ON public.organizations",
    ),
    "trigger on client_id": Dependent(
        "CREATE TRIGGER mine BEFORE UPDATE OF client_id ON public.sellout_entries2"
        " FOR EACH ROW EXECUTE FUNCTION public.prepare_sale()",
        "trigger mine on table public.sellout_entries2",
        "DROP TRIGGER mine ON public.sellout_entries2",
    ),
    "trigger when client_id": Dependent(
        "CREATE TRIGGER mine BEFORE UPDATE ON public.sellout_entries2 FOR EACH ROW"
        " WHEN (NEW.client_id <> OLD.client_id) EXECUTE FUNCTION public.prepare_sale()",
        "trigger mine on table public.sellout_entries2",
        "DROP TRIGGER mine ON public.sellout_entries2",
    ),
    "generated column": Dependent(
        "ALTER TABLE public.products ADD COLUMN mine text GENERATED ALWAYS AS (client_id::text || ean) STORED",
        "column mine of table public.products",
        "ALTER TABLE public.products DROP COLUMN mine",
    ),
    "default by our function": Dependent(
        "ALTER TABLE public.products ADD COLUMN mine uuid DEFAULT public.get_user_organization_id(NULL)",
        "column mine of table public.products",
        "ALTER TABLE public.products DROP COLUMN mine",
    ),
    "function with an SQL body": Dependent(
        "CREATE FUNCTION public.mine() RETURNS bigint LANGUAGE sql"
        " RETURN (SELECT count(*) FROM public.users WHERE client_id IS NOT NULL)",
        "function public.mine()",
        "DROP FUNCTION public.mine()",
        pg=">= 14",
    ),
    "function of an organization": Dependent(
        "CREATE FUNCTION public.mine(public.organizations) RETURNS text LANGUAGE sql AS 'SELECT $1.name'",
        "function public.mine(public.organizations)",
        "DROP FUNCTION public.mine(public.organizations)",
    ),
    "column of an organization": Dependent(
        "CREATE TABLE public.bills (organization public.organizations)",
        "column organization of table public.bills",
        "DROP TABLE public.bills",
    ),
    "extended statistics": Dependent(
        "CREATE STATISTICS public.mine ON client_id, year FROM public.sellout_entries2",
        "statistics object public.mine",
        "DROP STATISTICS public.mine",
    ),
    "rule on client_id": Dependent(
        "CREATE RULE mine AS ON UPDATE TO public.products WHERE NEW.client_id <> OLD.client_id DO INSTEAD NOTHING",
        "rule mine on table public.products",
        "DROP RULE mine ON public.products",
    ),
    "published columns": Dependent(
        "CREATE PUBLICATION mine FOR TABLE public.products (id, client_id)",
        "publication of table public.products in publication mine",
        "DROP PUBLICATION mine",
        pg=">= 15",
    ),
    "child table": Dependent(
        "CREATE TABLE public.more_organizations () INHERITS (public.organizations)",
        "table public.more_organizations",
        "DROP TABLE public.more_organizations",
    ),
}


@pytest.fixture
def deployed(templates: Templates) -> Iterator[Database]:
    made = templates.clone("deployed-migrated")
    yield made
    made.drop()


@pytest.mark.claim("rollback-stops-at-dependents")
@pytest.mark.parametrize(
    "dependent",
    [
        pytest.param(each, id=name, marks=[pytest.mark.pg(each.pg)] if each.pg else [])
        for name, each in DEPENDENTS.items()
    ],
)
def test_rollback_names_what_was_built_on_top_and_stops(deployed: Database, dependent: Dependent) -> None:
    """What was built on Phase 1 is named, nothing is touched, and once it is gone the rollback goes through.

    Otherwise a rollback at night takes a view, a key or a policy with it, and nobody notices before morning.
    """
    deployed.execute(dependent.made_by)
    before, rows = objects(deployed), deployed.checksum([*NAMES, *NEW_TABLES])
    for mode in ([], ["--online"]):
        refused = roll_back(deployed, *mode)
        assert refused.status == 3, dependent.object
        named = [line for line in refused.err.splitlines() if line.startswith("error: ")]
        assert named
        assert all(dependent.object in line for line in named), named
        assert "What to do:" in refused.err
    assert difference(before, objects(deployed)) == []
    assert deployed.checksum([*NAMES, *NEW_TABLES]) == rows
    deployed.execute(dependent.dropped_by)
    assert roll_back(deployed).status == 0


#: What has nothing to do with Phase 1, but stands on the same tables.
HARMLESS = """
    CREATE VIEW public.some_users AS SELECT id, email FROM public.users;
    CREATE VIEW public.whole_rows AS SELECT product FROM public.products AS product;
    CREATE MATERIALIZED VIEW public.months AS SELECT year, month FROM public.sellout_entries2 GROUP BY 1, 2;
    CREATE TABLE public.notes (user_id uuid REFERENCES public.users (id), client_id uuid);
    CREATE INDEX notes_client_id_idx ON public.notes (client_id);
    CREATE INDEX products_name_idx ON public.products (name);
    CREATE STATISTICS public.months_and_years ON year, month FROM public.sellout_entries2;
    CREATE POLICY more_users ON public.users FOR SELECT TO authenticated USING (email IS NOT NULL);
    CREATE TRIGGER prepare_again BEFORE UPDATE OF reseller ON public.sellout_entries2
    FOR EACH ROW EXECUTE FUNCTION public.prepare_sale();
    CREATE FUNCTION public.all_products() RETURNS SETOF public.products LANGUAGE sql
    AS 'SELECT product FROM public.products AS product';
    CREATE TYPE public.organization AS (client_id uuid);
    CREATE PUBLICATION everything FOR TABLE public.products;
    GRANT SELECT ON public.users TO staging_reader;
    ALTER TABLE public.email_logs ADD COLUMN note text;
    COMMENT ON TABLE public.email_logs IS 'What was sent';
    ALTER TABLE public.products ALTER COLUMN name SET STATISTICS 500;
"""


@pytest.mark.claim("rollback-stops-at-dependents")
def test_rollback_is_not_stopped_by_what_does_not_depend_and_keeps_it(deployed: Database, templates: Templates) -> None:
    """Whatever stands on the same tables without depending on Phase 1 neither stops the rollback nor goes.

    Otherwise every change since the migration has to be undone by hand before one can go back.
    """
    wanted = templates.clone("deployed")
    wanted.execute(HARMLESS)
    expected = objects(wanted)
    wanted.drop()
    deployed.execute(HARMLESS)
    done = roll_back(deployed, "--purge-log")
    assert done.status == 0, done.err
    assert difference(expected, objects(deployed)) == []


# What is lost ------------------------------------------------------------------------------------------


def add_clients(database: Database) -> None:
    """Two more organizations, with rows and a membership of theirs."""
    database.execute(
        "INSERT INTO public.organizations (id, name, slug) VALUES"
        f" ('{ACME}', 'Acme', 'acme'), ('{BETA}', 'Beta', 'beta');"
        f"UPDATE public.products SET client_id = '{ACME}'"
        " WHERE ean IN (SELECT ean FROM public.products ORDER BY ean LIMIT 3);"
        f"UPDATE public.email_logs SET client_id = '{BETA}'"
        " WHERE id IN (SELECT id FROM public.email_logs ORDER BY id LIMIT 1);"
        "INSERT INTO public.user_organizations (user_id, organization_id)"
        f" SELECT id, '{ACME}' FROM public.users ORDER BY id LIMIT 2"
    )


@pytest.mark.claim("rollback-shows-what-is-lost")
def test_rollback_counts_what_is_lost_by_organization(migrated: Database, evidence: Evidence) -> None:
    """The dry run of the rollback says, for each organization and table, how many rows it takes the client from.

    Otherwise nobody knows what "permanently" means before it has happened.
    """
    add_clients(migrated)
    rows = {table: migrated.query(f"SELECT count(*) FROM public.{table}")[0][0] for table in NAMES}
    users = rows["users"]
    shown = {
        (each["organization"], each["table"]): each["rows"]
        for each in roll_back(migrated, "--dry-run", "--json").json["lost"]
    }
    assert shown == {
        **{("default-org", table): count for table, count in rows.items()},
        ("acme", "products"): 3,
        ("default-org", "products"): rows["products"] - 3,
        ("beta", "email_logs"): 1,
        ("default-org", "email_logs"): rows["email_logs"] - 1,
        ("default-org", "user_organizations"): users,
        ("acme", "user_organizations"): 2,
        **{(each, "organizations"): 1 for each in ("acme", "beta", "default-org")},
    }
    evidence("rows that a rollback takes the client from", [[*key, count] for key, count in sorted(shown.items())])
    for line in ("acme", "beta", "default-org"):
        assert line in roll_back(migrated, "--dry-run").err


@pytest.mark.claim("rollback-shows-what-is-lost")
def test_slug_adds_no_line_to_what_is_lost(migrated: Database) -> None:
    """The slug of an organization is one cell of one line, with whatever is not printable in it as an escape.

    A client could name itself so that what is confirmed says that nothing of theirs is lost.
    """
    add_clients(migrated)
    migrated.execute(
        r"UPDATE public.organizations SET slug = E'acme\nbeta  products  0\x1B[1A\u202E' WHERE slug = 'acme'"
    )
    shown = r"acme\nbeta  products  0\x1b[1A\u202e"
    told = roll_back(migrated, "--dry-run").err.splitlines()
    assert [line for line in told if not line.isprintable()] == []
    assert len([line for line in told if line.startswith(f"{shown} ")]) == 3
    assert len([line for line in told if re.match("beta +products ", line)]) == 0
    lost = roll_back(migrated, "--dry-run", "--json").json["lost"]
    assert {each["organization"] for each in lost} == {shown, "beta", "default-org"}


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


ONE_MORE = f"INSERT INTO public.organizations (id, name, slug) VALUES ('{ACME}', 'Acme', 'acme')"


@pytest.mark.claim("rollback-shows-what-is-lost")
@pytest.mark.parametrize("others", [None, add_clients, ONE_MORE], ids=["one client", "several clients", "without rows"])
def test_rollback_asks_for_the_words_and_refuses_to_lose_other_clients(
    migrated: Database, monkeypatch: pytest.MonkeyPatch, others: Callable[[Database], None] | str | None
) -> None:
    """Only the exact words start it; where there are other clients, with rows or not, no words do, and only --force.

    Otherwise a customer's data becomes another one's, and a contract is forgotten, by a habit of typing yes.
    """
    if callable(others):
        others(migrated)
    elif others:
        migrated.execute(others)
    before, rows = objects(migrated), migrated.checksum([*NAMES, *NEW_TABLES])

    def answer(words: str) -> Run:
        monkeypatch.setattr(sys, "stdin", Terminal(words))
        return run("--dsn", migrated.owner_dsn, "--rollback")

    for words in ("", "y\n", "yes\n", "permanently delete\n", "PERMANENTLY\n"):
        refused = answer(words)
        assert refused.status == 3, f"answered with {words!r}: {refused.err}"
        assert ("belong to organizations other than" in refused.err) == bool(others)
    assert difference(before, objects(migrated)) == []
    assert migrated.checksum([*NAMES, *NEW_TABLES]) == rows
    assert answer("PERMANENTLY DELETE\n").status == (3 if others else 0)
    if others:
        assert migrated.checksum([*NAMES, *NEW_TABLES]) == rows
        assert roll_back(migrated).status == 0
    assert difference(before, objects(migrated)) != []


# What was there before ---------------------------------------------------------------------------------

#: Organizations as Phase 1 would make them; on PostgreSQL 12 the function is in a schema of its own.
OWN_ORGANIZATIONS = f"""
    SET search_path = public, extensions;
    SET ROLE app_owner;
    {former.ORGANIZATIONS}
    REVOKE ALL ON public.organizations FROM anon, authenticated;
    INSERT INTO public.organizations (id, name, slug) VALUES ('{ACME}', 'Acme', 'acme');
"""
ADOPTED = f"INSERT INTO public.organizations (id, name, slug) VALUES ('{BETA}', 'Ours', 'default-org');"

#: Columns that were there: with values and NULLs; with NULLs only; required and with a key.
OWN_CLIENT_IDS = f"""
    ALTER TABLE public.products ADD COLUMN client_id uuid;
    UPDATE public.products SET client_id = '{ACME}' WHERE ean IN (SELECT ean FROM public.products ORDER BY ean LIMIT 4);
    CREATE POLICY of_client ON public.products AS RESTRICTIVE USING (client_id IS NOT NULL);
    CREATE INDEX idx_products_client_ean ON public.products (client_id, ean);
    ALTER TABLE public.uploads ADD COLUMN client_id uuid;
    ALTER TABLE public.email_logs ADD COLUMN client_id uuid NOT NULL DEFAULT '{ACME}'
        CONSTRAINT email_logs_client_id_fkey REFERENCES public.organizations (id) ON DELETE RESTRICT;
    ALTER TABLE public.email_logs ALTER COLUMN client_id DROP DEFAULT;
"""
OWN = ("products", "uploads", "email_logs")


def clients(database: Database) -> dict[str, list[Row]]:
    """Which row belongs to whom, in the tables that had a client_id before."""
    return {table: database.query(f"SELECT id, client_id FROM public.{table} ORDER BY id") for table in OWN}


@pytest.mark.claim("rollback-restores-schema", "rollback-restores-rows")
@MODES
@pytest.mark.parametrize("adopted", [False, True], ids=["organizations", "default organization"])
def test_what_was_there_before_stays(database: Database, mode: list[str], *, adopted: bool) -> None:
    """Organizations, a client_id, its NULLs and an index that were there before are there afterwards.

    Otherwise going back takes away what Phase 1 has never brought.
    """
    database.execute(OWN_ORGANIZATIONS + (ADOPTED if adopted else "") + OWN_CLIENT_IDS)
    # What hangs on something that stays is in nobody's way.
    database.execute("CREATE TABLE public.history (was public.organizations)")
    default = BETA if adopted else DEFAULT_ORGANIZATION
    before, owners, rows = objects(database), clients(database), database.checksum([*NAMES, "organizations"])
    migrate(database, *mode)
    for table in NAMES:
        assert database.query(f"SELECT count(*) FROM public.{table} WHERE client_id IS NULL") == [(0,)]
    assert database.query(
        "SELECT column_default FROM information_schema.columns WHERE column_name = 'client_id'"
        " AND table_name = ANY (%s) GROUP BY 1",
        NAMES,
    ) == [(f"'{default}'::uuid",)]
    filled = {table: [(row, client or uuid.UUID(default)) for row, client in pairs] for table, pairs in owners.items()}
    assert clients(database) == filled
    done = roll_back(database, *mode, "--purge-log")
    assert done.status == 0, done.err
    assert difference(before, objects(database)) == []
    assert clients(database) == owners
    assert database.checksum([*NAMES, "organizations"]) == rows


ROWS = "SELECT client_id, count(*) FROM public.email_logs GROUP BY 1 ORDER BY 1"
INVOICES = f"""
    CREATE TABLE public.invoices (number int, org uuid REFERENCES public.organizations (id) ON DELETE {{}});
    GRANT SELECT, INSERT ON public.invoices TO app_owner;
    INSERT INTO public.invoices VALUES (1, '{ACME}');
"""


@pytest.mark.claim("rollback-restores-rows", "rollback-stops-at-dependents")
@MODES
@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "RESTRICT", "NO ACTION"])
def test_rows_that_refer_to_the_default_organization_stop_the_rollback(
    database: Database, mode: list[str], action: str
) -> None:
    """Rows of the application that refer to an organization that Phase 1 created are counted, and none is touched.

    Otherwise the rollback deletes invoices by a key that says ON DELETE CASCADE, and says that all is as it was.
    """
    database.execute(OWN_ORGANIZATIONS + "RESET ROLE;" + INVOICES.format(action))
    migrate(database, *mode)
    database.execute("INSERT INTO public.invoices SELECT 2, id FROM public.organizations WHERE slug = 'default-org'")
    there = "SELECT number, org::text FROM public.invoices ORDER BY 1"
    invoices, before = database.query(there), objects(database)
    refused = roll_back(database, *mode, "--json")
    assert refused.status == 3
    [found] = refused.findings
    assert (found["check"], found["object"]) == (
        "nothing_refers_to_the_default_organization",
        "constraint invoices_org_fkey on public.invoices",
    )
    assert "1 rows refer" in found["problem"]
    assert "FOREIGN KEY (org)" in found["problem"]
    assert database.query(there) == invoices
    assert difference(before, objects(database)) == []
    database.execute(f"UPDATE public.invoices SET org = '{ACME}'")
    assert roll_back(database, *mode).status == 0
    assert database.query(there) == [(1, ACME), (2, ACME)]
    assert database.query("SELECT slug FROM public.organizations") == [("acme",)]


#: What comes late: an invoice of the default organization; a client with rows of a table that was there before;
#: a client where there was none, without a row.
LATE = {
    "invoice": "INSERT INTO public.invoices SELECT 2, id FROM public.organizations WHERE slug = 'default-org'",
    "row": f"UPDATE public.uploads SET client_id = '{ACME}' WHERE id = (SELECT id FROM public.uploads LIMIT 1)",
    "organization": ONE_MORE,
}


@pytest.mark.claim("rollback-restores-rows", "rollback-stops-at-dependents", "rollback-shows-what-is-lost")
@pytest.mark.parametrize(
    ("mode", "asked"),
    [([], True), ([], False), (["--online"], False)],
    ids=["while it is asked", "after the last look", "after the last look, online"],
)
@pytest.mark.parametrize("late", LATE)
def test_what_comes_after_it_was_looked_for_is_kept(
    templates: Templates, monkeypatch: pytest.MonkeyPatch, mode: list[str], late: str, *, asked: bool
) -> None:
    """What a rollback would lose and was not there when it was shown refuses it, or fails it at the last moment.

    Otherwise an invoice that is written, or a client who signs up, while somebody reads the question is gone.
    """
    database = templates.clone("founding")
    if late != "organization":
        database.execute(OWN_ORGANIZATIONS + "RESET ROLE;" + INVOICES.format("CASCADE"))
    migrate(database, *mode)
    before = objects(database)

    def answer() -> str:
        if asked:
            database.execute(LATE[late])
        return DELETE_WORDS

    def at_last(*arguments: Any) -> None:
        if not asked:
            database.execute(LATE[late])
        apply.run(*arguments)

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setattr("migrate.run", at_last)
    failed = run("--dsn", database.owner_dsn, "--rollback", *mode)
    expected = 3 if asked else 5 if mode else 1
    assert failed.status == expected, f"the late {late} is gone: exit code {failed.status}: {failed.err}"
    sqlstate = "23503" if late == "invoice" else "23001"
    assert (f"SQLSTATE {sqlstate}" in failed.err) != asked, failed.err
    if not mode:
        assert difference(before, objects(database)) == []
    kept = {
        "invoice": "SELECT number FROM public.invoices WHERE number = 2",
        "row": f"SELECT FROM public.uploads WHERE client_id = '{ACME}'",
        "organization": f"SELECT FROM public.organizations WHERE id = '{ACME}'",
    }
    assert len(database.query(kept[late])) == 1
    # Now it is seen from the start.
    monkeypatch.undo()
    assert run("--dsn", database.owner_dsn, "--rollback", *mode).status == 3
    if late == "invoice":
        database.execute("DELETE FROM public.invoices WHERE number = 2")
    assert roll_back(database, *mode).status == 0
    database.drop()


@pytest.mark.claim("rollback-restores-rows", "rollback-stops-at-dependents")
def test_row_that_is_not_committed_yet_is_waited_for_before_its_organization_goes(
    database: Database, proxy: Proxy
) -> None:
    """What somebody is just about to commit keeps the default organization, whatever its foreign key says of deletions.

    Otherwise the invoice is not to be seen when it is looked for, and gone with the organization a moment later.
    """
    database.execute(OWN_ORGANIZATIONS + "RESET ROLE;" + INVOICES.format("CASCADE"))
    migrate(database, "--online")
    with database.connect(autocommit=False) as application, ThreadPoolExecutor(1) as pool:

        def write(statement: Statement) -> None:
            if statement.sql.startswith("SELECT FROM public.organizations WHERE id"):
                application.execute(LATE["invoice"].encode())
                pool.submit(commit)

        def commit() -> None:
            wait_for_who_waits(database, application.info.backend_pid)
            application.commit()

        proxy.before(write)
        failed = run("--dsn", proxy.dsn(database.name, OWNER), "--rollback", "--force", "--online")
    assert (failed.status, "SQLSTATE 23503" in failed.err) == (5, True), failed.err
    assert len(database.query("SELECT FROM public.invoices WHERE number = 2")) == 1


@pytest.mark.claim("rollback-restores-rows")
def test_rows_that_refer_to_an_adopted_default_organization_stop_nothing(database: Database) -> None:
    """Where the default organization was there before, it stays, and who refers to it does not matter.

    Otherwise nobody who has customers already could go back.
    """
    database.execute(OWN_ORGANIZATIONS + ADOPTED + "RESET ROLE;" + INVOICES.format("CASCADE"))
    migrate(database)
    database.execute(f"INSERT INTO public.invoices VALUES (2, '{BETA}')")
    assert roll_back(database).status == 0
    assert database.query("SELECT number, org::text FROM public.invoices ORDER BY 1") == [(1, ACME), (2, BETA)]


@pytest.mark.claim("rollback-restores-rows", "rerun-does-nothing", "online-resumes", "verify-finds-violations")
@pytest.mark.parametrize("adopted", [False, True], ids=["organizations", "default organization"])
def test_default_organization_is_the_one_of_the_log_whatever_its_slug(templates: Templates, *, adopted: bool) -> None:
    """Whose slug was changed since then stays the default organization; the slug is asked for, and no other one made.

    Otherwise a second run makes a second one, and from then on the old application writes rows that nobody sees.
    """
    database = templates.clone("founding")
    database.execute(OWN_ORGANIZATIONS + (ADOPTED if adopted else ""))
    before = objects(database, LOG)
    renamed = "UPDATE public.organizations SET slug = 'head' WHERE slug = 'default-org'"
    back = "UPDATE public.organizations SET slug = 'default-org' WHERE slug = 'head'"
    with database.connect(autocommit=False) as application:
        application.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
        assert run("--dsn", database.owner_dsn, "--force", "--online", "--give-up-after", "100ms").status == 5
    database.execute(renamed)
    refused = run("--dsn", database.owner_dsn, "--force", "--online", "--json")
    assert (refused.status, [back in each["action"] for each in refused.findings]) == (3, [True])
    database.execute(back)
    migrate(database, "--online")
    database.execute(renamed)
    verified = run("--dsn", database.owner_dsn, "--verify", "--json")
    errors = {(each["check"], back in each["action"]) for each in verified.findings if each["level"] == "error"}
    assert errors == {("default_organization_is_there", True)}
    assert roll_back(database).status == 0
    assert difference(before, objects(database, LOG)) == []
    slugs = database.query("SELECT slug FROM public.organizations ORDER BY 1")
    assert slugs == ([("acme",), ("head",)] if adopted else [("acme",)])
    database.drop()


@pytest.mark.claim("rollback-restores-rows", "existing-client-id-kept")
@MODES
@pytest.mark.parametrize("there", [f"'{ACME}'", "NULL"], ids=["complete", "with NULLs"])
def test_rows_written_since_do_not_name_an_organization_that_is_gone(
    database: Database, mode: list[str], there: str
) -> None:
    """What the application wrote since then in a client_id of before is NULL again, whether or not any row was filled.

    Otherwise rows name an organization that does not exist, and the next migration is refused.
    """
    database.execute(
        OWN_ORGANIZATIONS
        + f"ALTER TABLE public.email_logs ADD COLUMN client_id uuid; UPDATE public.email_logs SET client_id = {there};"
    )
    before: dict[uuid.UUID | None, int] = dict(database.query(ROWS))
    migrate(database, *mode)
    database.execute("INSERT INTO public.email_logs (recipient) VALUES ('new@example.com')")
    assert roll_back(database, *mode).status == 0
    assert dict(database.query(ROWS)) == {**before, None: before.get(None, 0) + 1}
    migrate(database, *mode)


@pytest.mark.claim("rollback-restores-rows", "rollback-shows-what-is-lost")
def test_rows_of_other_clients_do_not_outlive_organizations_in_a_kept_column(database: Database) -> None:
    """Where organizations goes too, so does every client in a client_id of before, and whose they were is shown.

    Otherwise the column names organizations of a table that is no more.
    """
    database.execute("ALTER TABLE public.email_logs ADD COLUMN client_id uuid")
    rows = database.checksum()
    migrate(database)
    add_clients(database)
    lost = roll_back(database, "--dry-run", "--json").json["lost"]
    assert {"organization": "beta", "table": "email_logs", "rows": 1} in lost
    assert roll_back(database).status == 0
    assert database.checksum() == rows
    migrate(database)


@pytest.mark.claim("rollback-restores-rows", "online-resumes", "existing-client-id-kept")
@pytest.mark.parametrize("adopted", [False, True], ids=["organizations", "default organization"])
def test_rows_written_between_a_stop_and_the_second_run_are_not_taken_for_those_of_before(
    database: Database, *, adopted: bool
) -> None:
    """A run that is stopped between the default and the fill knows that the rows written meanwhile are its own doing.

    Otherwise every row that was filled keeps the default organization for good, though none had it before.
    """
    database.execute(
        OWN_ORGANIZATIONS + (ADOPTED if adopted else "") + "ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        "ALTER TABLE public.email_logs ADD COLUMN client_id uuid;"
    )
    users = "SELECT client_id, count(*) FROM public.uploads GROUP BY 1"
    [(_, uploads)] = database.query(users)
    with database.connect(autocommit=False) as application:
        application.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
        stopped = run("--dsn", database.owner_dsn, "--force", "--online", "--give-up-after", "100ms")
        assert stopped.status == 5
    assert database.query(users) == [(None, uploads)]
    database.execute("INSERT INTO public.uploads (filename) VALUES ('new.csv')")
    assert run("--dsn", database.owner_dsn, "--dry-run", "--json").findings == []
    migrate(database, "--online")
    assert database.query(f"{users} ORDER BY 1") == [
        (uuid.UUID(BETA if adopted else DEFAULT_ORGANIZATION), uploads + 1)
    ]
    assert roll_back(database, "--online").status == 0
    assert database.query(users) == [(None, uploads + 1)]
    migrate(database)


@pytest.mark.pg("< 13")
@pytest.mark.claim("rollback-restores-schema")
@MODES
def test_extension_that_the_migration_needed_goes_with_it(database: Database, mode: list[str]) -> None:
    """Where the server has no gen_random_uuid() of its own, a superuser's run brings pgcrypto, and takes it away again.

    Otherwise the next dump asks for an extension that nobody in the team has ever heard of.
    """
    extension = "SELECT FROM pg_extension WHERE extname = 'pgcrypto'"
    database.execute("DROP EXTENSION pgcrypto CASCADE")
    before = objects(database, LOG)
    for operation, there in (((), [()]), (("--rollback",), [])):
        done = run("--dsn", database.dsn(), "--force", *mode, *operation)
        assert (done.status, database.query(extension)) == (0, there), done.err
    assert difference(before, objects(database, LOG)) == []


@pytest.mark.claim("rollback-restores-schema", "existing-client-id-kept")
@MODES
@pytest.mark.parametrize(
    "stopped_at", ["VALIDATE CONSTRAINT phase_1_client_id_check", "ALTER COLUMN client_id SET NOT"]
)
def test_check_of_a_run_that_was_stopped_goes_with_the_rollback(
    database: Database, proxy: Proxy, mode: list[str], stopped_at: str
) -> None:
    """The check that an online run has for a moment on a client_id of before does not outlive the way back.

    Otherwise the application, which may write NULL there, is refused by the constraint of something that is gone.
    """
    database.execute(OWN_ORGANIZATIONS + "ALTER TABLE public.uploads ADD COLUMN client_id uuid;")
    before = objects(database, LOG)
    proxy.before(lambda statement: "cut" if stopped_at in statement.sql else None)
    assert run("--dsn", proxy.dsn(database.name, OWNER), "--force", "--online").status == 5
    assert database.query("SELECT FROM pg_constraint WHERE conname = 'phase_1_client_id_check'") == [()]
    assert roll_back(database, *mode).status == 0
    assert difference(before, objects(database, LOG)) == []


@pytest.mark.claim("rollback-shows-what-is-lost", "existing-client-id-kept")
def test_rows_that_cannot_be_told_from_those_of_before_stay_and_the_rollback_says_so(database: Database) -> None:
    """Where a table had rows of the default organization before, those that were filled stay with it, and that is said.

    Emptied with the others they would be nobody's, and were somebody's before.
    """
    database.execute(
        OWN_ORGANIZATIONS + ADOPTED + "ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        f"UPDATE public.uploads SET client_id = '{BETA}' WHERE id = (SELECT id FROM public.uploads LIMIT 1)"
    )
    clients = "SELECT DISTINCT client_id FROM public.uploads"
    migrate(database)
    said = "rows of uploads that Phase 1 gave to the default organization stay there"
    assert f"-- {said}" in roll_back(database, "--dry-run").out
    done = roll_back(database)
    assert (done.status, f"note: {said}" in done.out) == (0, True), done.err
    assert database.query(clients) == [(uuid.UUID(BETA),)]


@pytest.mark.claim("rollback-shows-what-is-lost")
def test_client_that_is_kept_is_not_counted_as_lost(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client_id that stays loses nothing, and rows that have no client yet are nobody's: no --force is asked for.

    Otherwise a false alarm at every rollback teaches people to give --force, and the true one goes unread.
    """
    database.execute(
        OWN_ORGANIZATIONS
        + ADOPTED
        + f"ALTER TABLE public.email_logs ADD COLUMN client_id uuid; UPDATE public.email_logs SET client_id = '{ACME}';"
        "ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
    )
    rows, filled = database.query(ROWS), "SELECT count(*) FROM public.uploads WHERE client_id IS NOT NULL"
    with database.connect(autocommit=False) as application:
        application.execute("LOCK TABLE public.email_logs IN ACCESS SHARE MODE")
        assert run("--dsn", database.owner_dsn, "--force", "--online", "--give-up-after", "100ms").status == 5
    assert database.query(filled) == [(0,)]
    shown = roll_back(database, "--dry-run", "--json").json["lost"]
    assert {each["table"] for each in shown} & set(OWN) == {"products"}
    assert {each["organization"] for each in shown} == {"default-org"}
    monkeypatch.setattr(sys, "stdin", Terminal("PERMANENTLY DELETE\n"))
    done = run("--dsn", database.owner_dsn, "--rollback")
    assert done.status == 0, done.err
    assert database.query(ROWS) == rows


# What the log says -------------------------------------------------------------------------------------


@pytest.mark.claim("rollback-restores-schema")
@MODES
def test_rollback_leaves_out_by_the_log_what_the_migration_left_out(database: Database, mode: list[str]) -> None:
    """Tables and indexes that were left out are left out of the rollback without an option, whoever owns them now.

    Otherwise the table that could not be migrated is what makes the way back impossible.
    """
    index = "idx_products_client_ean"
    database.execute(f"ALTER TABLE public.email_logs OWNER TO {database.server.user}")
    before = objects(database, LOG)
    migrate(database, *mode, "--skip-table", "email_logs", "--skip-index", index)
    # Somebody builds it later, with a name that Phase 1 would have given it.
    database.execute(f"CREATE INDEX {index} ON public.products (client_id, ean)")
    refused = roll_back(database, *mode)
    assert refused.status == 3
    assert f"index public.{index}: was built on column client_id" in refused.err
    database.execute(f"DROP INDEX public.{index}")
    done = roll_back(database, *mode)
    assert done.status == 0, done.err
    assert difference(before, objects(database, LOG)) == []


@pytest.mark.claim("rollback-restores-schema")
@pytest.mark.parametrize(
    "there",
    [
        "CREATE TABLE public.migration_log (id int)",
        "CREATE TABLE public.migration_log (id int, phase text, operation text, status text, details jsonb);"
        "INSERT INTO public.migration_log VALUES (1, 'phase_0', 'migrate', 'completed', '{}')",
    ],
    ids=["of another shape", "of another phase"],
)
def test_log_of_others_is_not_purged_where_nothing_was_migrated(database: Database, there: str) -> None:
    """--purge-log refuses to drop a table of that name that is not ours, also where there is nothing else to undo.

    Otherwise the history of another tool is gone by a clean-up after a rehearsal.
    """
    database.execute(f"SET ROLE app_owner; {there}")
    for mode in ([], ["--online"]):
        refused = roll_back(database, "--purge-log", *mode)
        assert refused.status == 3
        assert "was there before Phase 1" in refused.err
        assert ("has 1 entries of phase_0" in refused.err) == ("phase_0" in there)
    assert roll_back(database).status == 0
    assert database.query("SELECT to_regclass('public.migration_log') IS NULL") == [(False,)]
    database.execute(f"DROP TABLE {LOG}")
    assert roll_back(database, "--purge-log").status == 0
