"""What the migration leaves behind, item by item; what is expected is written out here, and read from nowhere."""

from __future__ import annotations

import threading
from typing import Any, Literal

import psycopg
import pytest

from phase_1 import apply
from phase_1.fingerprint import Fingerprint, fingerprint
from phase_1.problems import DONE, FAILED, STOPPED
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.support.looking import wait_for
from tests.support.proxy import Proxy, Statement
from tests.support.runner import run

DEFAULT = "00000000-0000-4000-8000-000000000001"

TABLES = (
    "users",
    "uploads",
    "sellout_entries2",
    "products",
    "processing_logs",
    "transform_logs",
    "email_logs",
)

_NOW = "timestamp with time zone"

#: Column, type, NOT NULL, default.
ORGANIZATIONS = (
    ("id", "uuid", True, "gen_random_uuid()"),
    ("name", "text", True, None),
    ("slug", "text", True, None),
    ("settings", "jsonb", False, "'{}'::jsonb"),
    ("is_active", "boolean", False, "true"),
    ("created_at", _NOW, False, "now()"),
    ("updated_at", _NOW, False, "now()"),
)
USER_ORGANIZATIONS = (
    ("id", "uuid", True, "gen_random_uuid()"),
    ("user_id", "uuid", True, None),
    ("organization_id", "uuid", True, None),
    ("role", "text", True, "'member'::text"),
    ("is_active", "boolean", False, "true"),
    ("created_at", _NOW, False, "now()"),
    ("updated_at", _NOW, False, "now()"),
)
MIGRATION_LOG = (
    ("id", "bigint", True, None),
    ("phase", "text", True, None),
    ("operation", "text", True, None),
    ("status", "text", True, None),
    ("details", "jsonb", True, "'{}'::jsonb"),
    ("created_at", _NOW, True, "clock_timestamp()"),
)

#: Index, table, columns behind client_id; a time stands for what each application calls it.
INDEXES = (
    ("idx_users_client_created_at", "users", "created_at DESC"),
    ("idx_uploads_client_created_at", "uploads", "created_at DESC"),
    ("idx_uploads_client_user_id", "uploads", "user_id"),
    ("idx_uploads_client_status", "uploads", "status"),
    ("idx_sellout_entries2_client_year_month", "sellout_entries2", "year, month, product_ean"),
    ("idx_sellout_entries2_client_created_at", "sellout_entries2", "created_at DESC"),
    ("idx_sellout_entries2_client_upload_id", "sellout_entries2", "upload_id"),
    ("idx_sellout_entries2_client_reseller", "sellout_entries2", "reseller, year, month"),
    ("idx_sellout_entries2_client_product_ean", "sellout_entries2", "product_ean, year, month"),
    ("idx_products_client_ean", "products", "ean"),
    ("idx_processing_logs_client_upload_id", "processing_logs", "upload_id"),
    ("idx_processing_logs_client_created_at", "processing_logs", "created_at DESC"),
    ("idx_transform_logs_client_upload_id", "transform_logs", "upload_id"),
    ("idx_transform_logs_client_created_at", "transform_logs", "created_at DESC"),
    ("idx_email_logs_client_created_at", "email_logs", "created_at DESC"),
)
TIMES = {
    "founding": {},
    "deployed": {"uploads": "uploaded_at", "transform_logs": "logged_at"},
}


#: PostgreSQL 18 tells a RESTRICT from the violation of a foreign key; the older ones do not.
RESTRICTED = (psycopg.errors.RestrictViolation, psycopg.errors.ForeignKeyViolation)


def columns(found: Fingerprint, table: str) -> tuple[tuple[Any, ...], ...]:
    """The columns of a table in their order, each as it is written above."""
    named = {
        name.partition(": column ")[2]: properties
        for name, properties in found.items()
        if name.startswith(f"table public.{table}: column ")
    }
    return tuple(
        (
            name,
            properties["type"],
            properties.get("required") == "NOT NULL",
            # PostgreSQL 12 has the function in the extension's schema.
            (properties.get("default") or "").replace("public.gen_", "gen_").replace("extensions.gen_", "gen_") or None,
        )
        for name, properties in sorted(named.items(), key=lambda each: each[1]["position"])
    )


def constraints(found: Fingerprint, table: str) -> list[str]:
    """The definitions of a table's constraints; each has to be validated."""
    mine = [properties for name, properties in found.items() if name.startswith(f"table public.{table}: constraint ")]
    assert all(properties["validated"] for properties in mine)
    return sorted(properties["definition"] for properties in mine)


@pytest.mark.claim("organizations-shape")
def test_organizations_has_the_promised_shape(migrated: Database) -> None:
    """Organizations has the columns, types, defaults and keys of the founding document, and no others.

    Otherwise the code of the later phases, written against that document, fails on this database.
    """
    found = fingerprint(migrated.connect())
    assert columns(found, "organizations") == ORGANIZATIONS, "organizations"
    keys = ["PRIMARY KEY (id)", "UNIQUE (name)", "UNIQUE (slug)"]
    assert constraints(found, "organizations") == keys, "organizations"
    assert found["table public.organizations"]["owner"] == "app_owner"
    assert migrated.query("SELECT id::text, name, slug, settings, is_active FROM public.organizations") == [
        (DEFAULT, "Default Organization", "default-org", {}, True)
    ]


@pytest.mark.claim("memberships-shape")
def test_memberships_have_the_promised_shape(migrated: Database) -> None:
    """User_organizations has the promised columns, is unique by user and organization, and refers to both.

    Otherwise a user is twice a member, or a member of something that does not exist.
    """
    found = fingerprint(migrated.connect())
    assert columns(found, "user_organizations") == USER_ORGANIZATIONS, "user_organizations"
    assert constraints(found, "user_organizations") == [
        "FOREIGN KEY (organization_id) REFERENCES public.organizations(id)",
        "FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE",
        "PRIMARY KEY (id)",
        "UNIQUE (user_id, organization_id)",
    ], "user_organizations"
    assert found["table public.user_organizations"]["owner"] == "app_owner"


@pytest.mark.claim("memberships-shape")
def test_membership_goes_with_its_user_and_keeps_its_organization(migrated: Database) -> None:
    """An old application deletes a user without knowing of memberships; an organization with members stays.

    Otherwise deleting an account fails in production with a foreign key that nobody has heard of.
    """
    connection = migrated.connect("app_owner")
    ((user,),) = connection.execute("SELECT user_id FROM public.user_organizations LIMIT 1").fetchall()
    connection.execute("DELETE FROM public.users WHERE id = %s", (user,))
    assert connection.execute("SELECT 1 FROM public.user_organizations WHERE user_id = %s", (user,)).fetchall() == []
    connection.execute(
        "WITH made AS (INSERT INTO public.organizations (name, slug) VALUES ('Other', 'other') RETURNING id)"
        " INSERT INTO public.user_organizations (user_id, organization_id)"
        " SELECT (SELECT min(id::text)::uuid FROM public.users), id FROM made"
    )
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute("DELETE FROM public.organizations WHERE slug = 'other'")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(
            "INSERT INTO public.user_organizations (user_id, organization_id)"
            " SELECT user_id, organization_id FROM public.user_organizations LIMIT 1"
        )


@pytest.mark.claim("migration-log-shape")
def test_migration_log_has_the_promised_shape(migrated: Database) -> None:
    """Migration_log has the promised columns, numbers its rows itself, and takes the four states only.

    Otherwise what happened to a database cannot be read from it in the promised way.
    """
    found = fingerprint(migrated.connect())
    assert columns(found, "migration_log") == MIGRATION_LOG, "migration_log"
    assert found["table public.migration_log: column id"]["identity"] == "a"
    kinds = [definition.partition("(")[0] for definition in constraints(found, "migration_log")]
    assert kinds == ["CHECK ", "PRIMARY KEY "], "migration_log"
    connection = migrated.connect("app_owner")
    insert = "INSERT INTO public.migration_log (phase, operation, status) VALUES ('x', 'x', %s)"
    for status in ("started", "completed", "failed", "skipped"):
        connection.execute(insert, (status,))
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(insert, ("done",))
    with pytest.raises(psycopg.errors.GeneratedAlways):
        connection.execute(
            "INSERT INTO public.migration_log (id, phase, operation, status) VALUES (1, 'x', 'x', 'failed')"
        )


@pytest.mark.claim("migration-log-shape")
def test_documented_queries_answer_after_the_migration(migrated: Database, evidence: Evidence) -> None:
    """The queries that the founding document gives its readers run as they stand there, and answer.

    Otherwise the first thing that an operator tries after the migration fails.
    """
    connection = migrated.connect("app_owner")  # with the path that everybody has
    log = connection.execute(
        "SELECT phase, operation, status, details, created_at FROM migration_log"
        " WHERE phase = 'phase_1' ORDER BY created_at DESC"
    ).fetchall()
    in_order = connection.execute("SELECT operation FROM migration_log ORDER BY id DESC").fetchall()
    assert [operation for _, operation, _, _, _ in log] == [operation for (operation,) in in_order]
    assert [entry[1:3] for entry in log[:2]] == [("verify", "completed"), ("migrate", "completed")]
    assert log[-1][1:3] == ("create_migration_log", "completed")
    evidence("entries of the log", [f"{operation}: {status}" for _, operation, status, _, _ in reversed(log)])

    assert connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE column_name = 'client_id' AND table_schema = 'public' ORDER BY table_name"
    ).fetchall() == [(table, "client_id") for table in sorted(TABLES)]

    ((found, name),) = connection.execute(
        "SELECT id::text, name FROM (SELECT * FROM organizations WHERE slug = 'default-org') AS found"
    ).fetchall()
    assert (found, name) == (DEFAULT, "Default Organization")

    ((integrity,),) = connection.execute("SELECT validate_client_data_integrity()").fetchall()
    assert integrity["status"] == "passed"
    assert sorted(integrity["tables"]) == sorted(TABLES)

    failed = "SELECT * FROM migration_log WHERE operation LIKE '%client_id%' AND status = 'failed'"
    assert connection.execute(failed).fetchall() == []

    indexes = connection.execute(
        "SELECT schemaname, tablename, indexname FROM pg_indexes"
        " WHERE tablename IN ('uploads', 'sellout_entries2', 'products') AND indexname LIKE '%client%'"
        " ORDER BY indexname"
    ).fetchall()
    assert indexes == sorted(
        (
            ("public", table, index)
            for index, table, _ in INDEXES
            if table in ("uploads", "sellout_entries2", "products")
        ),
        key=lambda row: row[2],
    )


@pytest.mark.claim("client-id-column")
@pytest.mark.parametrize("table", TABLES)
def test_client_id_is_required_defaulted_and_tied(migrated: Database, table: str) -> None:
    """Client_id is uuid NOT NULL, has the default organization as its default, and a validated key that restricts.

    Otherwise rows without a client appear, or a client goes and its rows stay.
    """
    found = fingerprint(migrated.connect())
    column = found[f"table public.{table}: column client_id"]
    shape = (column["type"], column.get("required"), column.get("default"))
    assert shape == ("uuid", "NOT NULL", f"'{DEFAULT}'::uuid"), table
    # The last: an INSERT without a column list goes on working.
    assert column["position"] == max(
        each["position"] for name, each in found.items() if name.startswith(f"table public.{table}: column ")
    )
    key = found[f"table public.{table}: constraint {table}_client_id_fkey"]
    assert key == {
        "definition": "FOREIGN KEY (client_id) REFERENCES public.organizations(id) ON DELETE RESTRICT",
        "validated": True,
    }, f"{table}_client_id_fkey"
    ((rows, of_the_default),) = migrated.query(
        f"SELECT count(*), count(*) FILTER (WHERE client_id = '{DEFAULT}') FROM public.{table}"
    )
    assert rows == of_the_default > 0


@pytest.mark.claim("client-id-column")
def test_organization_with_rows_cannot_be_deleted(migrated: Database) -> None:
    """An organization that owns a row of any tenant table cannot be deleted, and a row of none cannot be written.

    Otherwise one DELETE takes a customer's data, or leaves it to nobody.
    """
    connection = migrated.connect("app_owner")
    for table in TABLES:
        with connection.transaction(force_rollback=True):
            connection.execute(
                "INSERT INTO public.organizations (id, name, slug) VALUES (md5('other')::uuid, 'Other', 'other')"
            )
            connection.execute(
                f"UPDATE public.{table} SET client_id = md5('other')::uuid"
                f" WHERE ctid = (SELECT ctid FROM public.{table} LIMIT 1)"
            )
            with pytest.raises(RESTRICTED), connection.transaction():
                connection.execute("DELETE FROM public.organizations WHERE slug = 'other'")
            with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.transaction():
                connection.execute(f"UPDATE public.{table} SET client_id = md5('nobody')::uuid")


@pytest.mark.claim("existing-users-are-members")
def test_every_user_is_an_active_member_of_the_default_organization(migrated: Database) -> None:
    """Each user who was there has one membership: of the default organization, as a member, active.

    Otherwise the first release that asks for memberships locks users out.
    """
    ((users,),) = migrated.query("SELECT count(*) FROM public.users")
    assert users > 0
    assert migrated.query(
        "SELECT m.organization_id::text, m.role, m.is_active, m.created_at IS NOT NULL AND m.updated_at IS NOT NULL,"
        " count(*), count(DISTINCT u.id) FROM public.user_organizations AS m"
        " JOIN public.users AS u ON u.id = m.user_id GROUP BY 1, 2, 3, 4"
    ) == [(DEFAULT, "member", True, True, users, users)], "user_organizations"
    assert migrated.query("SELECT count(*) FROM public.user_organizations") == [(users,)]


@pytest.mark.claim("existing-users-are-members")
def test_users_become_members_in_batches_whatever_their_primary_key(
    templates: Templates, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the id of users is unique, and the primary key another one, each batch is a statement of its own too.

    In one statement a million users are locked for as long as it takes, and nobody signs up or changes a name. A run
    that stops between two of them goes on.
    """
    monkeypatch.setattr("phase_1.found.BATCH", 2)
    database = templates.clone("founding")
    database.execute(
        "ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey; ALTER TABLE public.users ADD region int"
        " NOT NULL DEFAULT 0, DROP CONSTRAINT users_pkey, ADD UNIQUE (id), ADD PRIMARY KEY (region, id)"
    )
    ((users,),) = database.query("SELECT count(*) FROM public.users")
    script = run("--dsn", database.owner_dsn, "--online", "--dry-run").out
    assert script.count("INSERT INTO public.user_organizations") == users // 2 + 1 > 2
    batches: list[str] = []

    def stop_at_the_second(statement: Statement) -> Literal["cut"] | None:
        if not statement.sql.startswith("INSERT INTO public.user_organizations"):
            return None
        batches.append(statement.sql)
        return "cut" if len(batches) == 2 else None

    proxy.before(stop_at_the_second)
    assert run("--dsn", proxy.dsn(database.name, OWNER), "--online", "--force").status == STOPPED
    proxy.before(None)
    members = "SELECT count(DISTINCT user_id) FROM public.user_organizations"
    assert database.query(members) == [(2,)]
    assert run("--dsn", database.owner_dsn, "--online", "--force").status == DONE
    assert database.query(members) == [(users,)]
    database.drop()


@pytest.mark.claim("existing-users-are-members")
@pytest.mark.parametrize("mode", [(), ("--online",)], ids=["transactional", "online"])
def test_users_that_are_hidden_after_the_last_look_stop_the_run(
    templates: Templates, monkeypatch: pytest.MonkeyPatch, mode: tuple[str, ...]
) -> None:
    """Row security that is forced on the owner a moment before the run is an error, and not users who are left out.

    Otherwise the run sees no user, makes nobody a member, and says that all is done.
    """
    database = templates.clone("founding")

    def hide(*arguments: Any) -> None:
        database.execute("ALTER TABLE public.users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        apply.run(*arguments)

    monkeypatch.setattr("migrate.run", hide)
    failed = run("--dsn", database.owner_dsn, "--force", *mode)
    assert failed.status in (FAILED, STOPPED), failed.err
    assert "row-level security" in failed.err
    database.execute("ALTER TABLE public.users DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
    monkeypatch.undo()
    assert run("--dsn", database.owner_dsn, "--force", *mode).status == DONE
    database.drop()


@pytest.mark.claim("existing-users-are-members")
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_user_who_signs_up_while_the_run_waits_for_its_locks_is_a_member(isolation: str, templates: Templates) -> None:
    """A sign-up that is committed while the run waits for its locks gets its membership, whatever the isolation.

    A run that looks at the users as they were before it had the locks leaves one out, and no check notices.
    """
    database = templates.clone("founding")
    database.execute(
        f"ALTER ROLE {OWNER} IN DATABASE \"{database.name}\" SET default_transaction_isolation = '{isolation}'"
    )
    signing_up = database.connect(OWNER, autocommit=False)
    signing_up.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    signing_up.execute("INSERT INTO public.users (email) VALUES ('late@example.com')")

    def commit() -> None:
        wait_for(database, "SELECT FROM pg_locks WHERE NOT granted AND relation = 'public.users'::regclass")
        signing_up.commit()

    other = threading.Thread(target=commit)
    other.start()
    # Long enough for the lock to be had at the first try: a second one has a snapshot of its own.
    done = run("--dsn", database.owner_dsn, "--force", "--lock-timeout", "60s")
    other.join()
    assert done.status == 0, done.out + done.err
    without = "SELECT email FROM public.users WHERE id NOT IN (SELECT user_id FROM public.user_organizations)"
    assert database.query(without) == [], "users without a membership"
    database.drop()


@pytest.mark.claim("indexes-present")
def test_every_promised_index_is_there_and_valid(migrated: Database) -> None:
    """Each promised index is a valid B-tree on the promised columns, and Phase 1 brings no other but for keys.

    Otherwise a query of one client reads every client's rows, or every write pays for an index without a use.
    """
    found = fingerprint(migrated.connect())
    expected = {}
    for name, table, behind in INDEXES:
        column = behind.replace("created_at", TIMES[migrated.variant].get(table, "created_at"))
        where = " WHERE (status = ANY (ARRAY['pending'::text, 'processing'::text]))" if behind == "status" else ""
        expected[f"index public.{name}"] = (
            f"CREATE INDEX {name} ON public.{table} USING btree (client_id, {column}){where}"
        )
    assert len(expected) == 15
    ours = {
        name: each for name, each in found.items() if name.startswith("index ") and "client_id" in each["definition"]
    }
    assert {name: each["definition"] for name, each in ours.items()} == expected
    unusable = [name for name, each in ours.items() if not (each["valid"] and each["ready"] and each["live"])]
    assert unusable == [], "indexes that are not valid"
    assert found["index public.user_organizations_organization_id_idx"]["valid"]


@pytest.mark.claim("indexes-present")
def test_every_foreign_key_of_phase_1_has_an_index(migrated: Database) -> None:
    """Each foreign key that Phase 1 adds has an index, of the whole table, that leads with its columns.

    Otherwise deleting one user or organization reads every tenant table from end to end, under locks.
    """
    keys = migrated.query(
        "SELECT c.conname, EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.conrelid AND i.indisvalid"
        " AND i.indpred IS NULL AND i.indkey[0] = c.conkey[1]) FROM pg_constraint AS c"
        " WHERE c.contype = 'f' AND (c.conname LIKE '%client_id_fkey'"
        " OR c.conrelid = 'public.user_organizations'::regclass) ORDER BY 1"
    )
    assert [name for name, _ in keys] == sorted(
        [
            *(f"{table}_client_id_fkey" for table in TABLES),
            "user_organizations_organization_id_fkey",
            "user_organizations_user_id_fkey",
        ]
    )
    assert [name for name, has_index in keys if not has_index] == [], "foreign keys without an index"


@pytest.mark.claim("statistics-present")
def test_planner_knows_how_many_rows_a_client_has(migrated: Database, evidence: Evidence) -> None:
    """The planner expects the rows that the default organization has, on every tenant table.

    Otherwise it takes millions of rows for a few thousand, and joins them with nested loops.
    """
    connection = migrated.connect()
    estimates = {table: estimate(connection, table) for table in TABLES}
    counts = {table: migrated.query(f"SELECT count(*) FROM public.{table}")[0][0] for table in TABLES}
    evidence(
        "rows of the default organization: expected by the planner, and there",
        {table: [estimates[table], counts[table]] for table in TABLES},
    )
    assert estimates == pytest.approx(counts, rel=0.1), "rows that the planner expects"
    # The test can fail: without the statistics the planner takes the column for one of many values.
    connection.execute(
        "DELETE FROM pg_statistic AS s USING pg_attribute AS a"
        " WHERE a.attrelid = s.starelid AND a.attnum = s.staattnum AND a.attname = 'client_id'"
    )
    assert estimate(migrated.connect(), "sellout_entries2") < counts["sellout_entries2"] / 10


def estimate(connection: psycopg.Connection[Any], table: str) -> int:
    """How many rows of the default organization the planner expects."""
    query = f"EXPLAIN (FORMAT JSON) SELECT FROM public.{table} WHERE client_id = '{DEFAULT}'"
    ((plan,),) = connection.execute(query.encode()).fetchall()
    return int(plan[0]["Plan"]["Plan Rows"])
