"""What is asked before anything is touched: every check finds its violation, and nothing but that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from phase_1.findings import ERROR, Finding
from phase_1.found import BATCH
from phase_1.inventory import DEFAULT_ORGANIZATION
from phase_1.problems import DONE, REFUSED, STOPPED
from tests.checks import cases
from tests.checks.states import KEPT_APART, ORGANIZATIONS, REQUIRED_CLIENT_ID, invalid_index, prepare
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.plugins.server import Server
from tests.support.cases import Case, names, params, workbench
from tests.support.looking import wait_for
from tests.support.pooler import Pooler
from tests.support.runner import run

#: The cases of every check, from tests/checks.
CASES = cases("BEFORE")


#: Checks whose violation needs more than a change of one database; each has a test of its own below.
APART = {
    ("preflight", "service_role_bypasses_row_security"),
    ("preflight", "transactions_are_short"),
    ("rollback", "transactions_are_short"),
    ("preflight", "transactions_can_be_seen"),
    ("rollback", "transactions_can_be_seen"),
}


Old = tuple[Database, psycopg.Connection[tuple[Any, ...]]]


@pytest.fixture(scope="module", autouse=True)
def old(templates: Templates) -> Iterator[Old]:
    """A migrated database with a transaction that was begun with the first test of this module."""
    database = templates.clone("founding-migrated")
    connection = database.connect(OWNER, autocommit=False, application_name="nightly report")
    connection.execute("SELECT count(*) FROM public.uploads")
    # One as old of the same role in another database is nothing to it.
    with closing(templates.server.connect(templates.server.database, OWNER, autocommit=False)) as elsewhere:
        elsewhere.execute("SELECT 1")
        yield database, connection
    database.drop()


@pytest.mark.claim("preflight-refuses", "preflight-warns")
def test_checks_have_each_a_case() -> None:
    """Every check that is asked before anything is touched is tested in its failing form.

    A check that cannot fail, for a slip in its query, would let pass what it was written for.
    """
    tested = {(stage, case.check) for case in CASES for stage in ("preflight", "rollback")} | APART
    asked = {(stage, name) for stage in ("preflight", "rollback") for name in names(stage)}
    assert not asked - tested
    assert {name for _, name in tested} == {name for _, name in asked}


@pytest.mark.claim("preflight-refuses", "preflight-warns")
@pytest.mark.parametrize("action", ["migration", "second migration", "rollback", "second rollback"])
def test_preflight_finds_nothing_in_a_clean_database(action: str, variant: str, templates: Templates) -> None:
    """Where nothing speaks against a run, nothing is found: no error, no warning.

    A false alarm stops a migration in its window, and teaches people to read past the warnings.
    """
    rollback = ["--rollback"] if action.endswith("rollback") else []
    kind = variant if action == "migration" else f"{variant}-migrated"
    with workbench(templates, kind) as bench:
        if action == "second rollback":
            assert run("--dsn", bench.database.owner_dsn, "--rollback", "--force").status == DONE
        result = run("--dsn", bench.database.owner_dsn, *rollback, "--dry-run", "--json")
        assert (result.status, result.findings) == (DONE, [])


@pytest.mark.parametrize(("case", "stage"), list(params(CASES, "preflight", "rollback")))
def test_check_finds_its_violation_and_not_the_near_miss(case: Case, stage: str, templates: Templates) -> None:
    """The check finds nothing in the near miss, names the violation, and is silent once its advice is taken.

    What it misses fails in the middle of a migration or is lost; advice that does not help costs the window.
    """
    rollback = ["--rollback"] if stage == "rollback" else []
    with workbench(templates, case.variant + ("-migrated" if rollback else "")) as bench:
        bench.do(case.near_miss)
        assert bench.findings(case.check, stage, case.user, case.near_miss_options) == []

        bench.do(case.violation)
        before = bench.state()
        how = "--force" if case.level == ERROR else "--dry-run"
        result = run("--dsn", bench.database.dsn(case.user), *rollback, "--json", how, *case.options)
        found = [Finding(**each) for each in result.of(case.check)]
        assert found, f"{case.check} finds nothing: {case.title}"
        for finding in found:
            assert re.fullmatch(case.object, finding.object), finding
            assert re.search(case.problem, finding.problem), finding
            assert finding.level == case.level
        if case.level == ERROR:
            assert result.status == REFUSED
            assert all(f"{finding.object}: {finding.problem}." in result.err for finding in found)
            assert all(f"What to do: {finding.action}" in result.err for finding in found)
        else:
            assert result.status == DONE
        assert bench.state() == before

        options = bench.mend(case, found)
        assert bench.findings(case.check, stage, case.user_by_hand, options) == []
        if case.level == ERROR:
            again = run(
                "--dsn",
                bench.database.dsn(case.user_by_hand),
                *rollback,
                "--json",
                "--force",
                "--give-up-after",
                "1s",
                *options,
            )
            assert again.status == DONE, again.err


@pytest.mark.claim("preflight-warns")
def test_preflight_warns_of_a_service_role_that_row_security_binds(private_server: Server) -> None:
    """A service_role without BYPASSRLS is named before the migration; one that is a superuser is none.

    The back end would see no organization and no membership, and everybody would be locked out.
    """
    templates = Templates(private_server)
    with workbench(templates, "founding-empty") as bench:
        check = "service_role_bypasses_row_security"
        assert bench.findings(check, "preflight", OWNER) == []
        bench.do("ALTER ROLE service_role NOBYPASSRLS SUPERUSER")
        assert bench.findings(check, "preflight", OWNER) == []
        bench.do("ALTER ROLE service_role NOSUPERUSER")
        result = run("--dsn", bench.database.owner_dsn, "--dry-run", "--json")
        [found] = result.findings
        assert (result.status, found["check"], found["level"]) == (DONE, check, "warning")
        assert found["object"] == "role service_role"
        bench.do(found["action"].removeprefix("as a superuser: "))
        assert bench.findings(check, "preflight", OWNER) == []
    templates.close()


@pytest.mark.claim("preflight-refuses")
@pytest.mark.parametrize("mode", [(), ("--online",)], ids=["transactional", "online"])
def test_preflight_refuses_a_pooler_in_transaction_mode(templates: Templates, mode: tuple[str, ...]) -> None:
    """A pooler that gives every transaction another server session is found and refused; in session mode it serves.

    Behind one the locks and settings of the migration would be those of strangers, and theirs the migration's.
    """
    with workbench(templates, "founding") as bench:
        dsn = bench.database.owner_dsn
        before = bench.state()
        with Pooler(dsn, "transaction") as pooler:
            result = run("--dsn", pooler.dsn, "--json", "--force", *mode)
        assert result.status == REFUSED
        [found] = result.findings
        assert (found["check"], found["level"]) == ("no_transaction_pooler", "error")
        assert "session mode" in found["action"]
        assert bench.state() == before
        ours = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        assert bench.database.query(f"SELECT * FROM pg_locks WHERE locktype = 'advisory' AND {ours}") == []
        with Pooler(dsn, "session") as pooler:
            assert run("--dsn", pooler.dsn, "--force", *mode).status == DONE


@pytest.mark.claim("invalid-index-rebuilt")
@pytest.mark.parametrize("mode", ["transactional", "online"])
def test_invalid_index_of_ours_is_dropped_and_built_again(mode: str, templates: Templates) -> None:
    """What an interrupted build has left under the name of one of our indexes is replaced by a valid index.

    It would cost every write and serve no query, and IF NOT EXISTS would take it for done.
    """
    options = ["--online"] if mode == "online" else []
    name = "idx_uploads_client_user_id"
    with workbench(templates, "founding") as bench:
        bench.do("ALTER TABLE public.uploads ADD COLUMN client_id uuid")
        bench.do(invalid_index(name, "(client_id, user_id)"))
        valid = f"SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.{name}'::regclass"
        assert bench.database.query(valid) == [(False,)]
        [warned] = bench.findings("indexes_of_the_table_are_valid", "preflight", OWNER)
        assert "dropped and built again" in warned.action
        ended = run("--dsn", bench.database.owner_dsn, "--force", *options)
        assert ended.status == DONE, ended.err
        assert bench.database.query(valid) == [(True,)], name

        # The same on a database where Phase 1 is done, after a REINDEX or a DROP that somebody broke off.
        bench.do(f"DROP INDEX public.{name}")
        bench.do(invalid_index(name, "(client_id, user_id)"))
        ended = run("--dsn", bench.database.owner_dsn, "--force", *options)
        assert ended.status == DONE, ended.err
        assert bench.database.query(valid) == [(True,)], name


#: What a table may call its time: the names that are known, and some that need quotes or --column.
NAMED = [(name, ()) for name in ("created_at", "uploaded_at", "logged_at", "sent_at")] + [
    (name, ("--column", f"uploads.created_at={name}")) for name in ("received_at", "When it Came", "timestamp", "end")
]


@pytest.mark.claim("time-columns-resolved")
@pytest.mark.parametrize(("name", "options"), NAMED, ids=[name for name, _ in NAMED])
def test_time_column_is_found_by_its_known_names_or_by_the_option(
    name: str, options: tuple[str, ...], templates: Templates
) -> None:
    """The time column of a table is taken by any name that it is known by, or that is given, and is told.

    An index on another column, or none, leaves the newest uploads of a client to a scan of the table.
    """
    with workbench(templates, "founding") as bench:
        if name != "created_at":
            bench.do(f'ALTER TABLE public.uploads RENAME created_at TO "{name}"')
        dsn = ("--dsn", bench.database.owner_dsn, *options)
        assert run(*dsn, "--dry-run", "--json").json["tables"]["uploads"]["time_column"] == name, "uploads"
        ended = run(*dsn, "--force")
        assert ended.status == DONE, ended.err
        columns = bench.database.query(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'public.idx_uploads_client_created_at'::regclass"
            " ORDER BY attnum"
        )
        assert columns == [("client_id",), (name,)]
        logged = bench.database.query(
            "SELECT details -> 'time_columns' ->> 'uploads' FROM public.migration_log"
            " WHERE operation = 'migrate' AND status = 'completed'"
        )
        assert logged == [(name,)]
        assert run(*dsn, "--verify").status == DONE
        assert "Nothing to do" in run(*dsn, "--force").out
        assert run("--dsn", bench.database.owner_dsn, "--rollback", "--force").status == DONE


@pytest.mark.claim("time-columns-resolved")
def test_time_columns_of_the_known_deployment_are_found(templates: Templates) -> None:
    """The deployment with uploaded_at and logged_at needs no option.

    Its operator would otherwise have to know the answers before the migration starts.
    """
    with workbench(templates, "deployed") as bench:
        tables = run("--dsn", bench.database.owner_dsn, "--dry-run", "--json").json["tables"]
        assert tables["uploads"]["time_column"] == "uploaded_at"
        assert tables["transform_logs"]["time_column"] == "logged_at"
        assert tables["users"]["time_column"] == "created_at"
        assert tables["email_logs"]["time_column"] == "created_at"


@pytest.mark.claim("existing-client-id-kept")
@pytest.mark.parametrize("default", ["ours", "theirs"])
@pytest.mark.parametrize("mode", ["transactional", "online"])
def test_client_id_that_was_there_keeps_its_values_and_gets_them_back(
    mode: str, default: str, templates: Templates, evidence: Evidence
) -> None:
    """Values that are there stay, NULLs go to the default organization, batch by batch; the rollback returns both.

    A value that is overwritten gives one client's rows to another, and no rollback would know.
    """
    options = ["--online"] if mode == "online" else []
    rows = 2 * BATCH + 3000  # nine in ten of them without a client
    with workbench(templates, "founding") as bench:
        database = bench.database
        bench.do(ORGANIZATIONS)
        if default == "theirs":
            bench.do(
                "SET ROLE app_owner; INSERT INTO public.organizations (name, slug) VALUES ('The First', 'default-org')"
            )
        bench.do(
            f"""
            ALTER TABLE public.email_logs ADD COLUMN client_id uuid;
            INSERT INTO public.email_logs (recipient, client_id)
            SELECT n || '@example.com', CASE n % 10 WHEN 0 THEN '11111111-1111-4111-8111-111111111111'::uuid END
            FROM generate_series(1, {rows}) AS n;
            -- what is still to be done for the rows that are filled keeps the table from being altered
            CREATE FUNCTION public.later() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON public.email_logs DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION public.later();
            ANALYZE public.email_logs
            """
        )
        values = "SELECT id, client_id FROM public.email_logs ORDER BY id"
        before: dict[Any, Any] = dict(database.query(values))

        def wrong(expected: dict[Any, Any]) -> int:
            """How many values are not as expected; all of them would be too many to read."""
            return len(dict(database.query(values)).items() ^ expected.items())

        objects = bench.state()[0]
        dsn = ("--dsn", database.owner_dsn, *options)

        def batches(client: str, *operation: str) -> list[int]:
            """How many rows of that client each UPDATE of the table is for."""
            script = run(*dsn, *operation, "--dry-run").out
            ranges = re.findall(r"UPDATE public.email_logs\s[^;]+?\s(id [<>][^;]+);", script)
            counted = f"SELECT count(*) FROM public.email_logs WHERE client_id {client} AND "
            return [database.query(counted + each)[0][0] for each in ranges]

        fills = batches("IS NULL")
        evidence("batches of the fill", fills)
        assert fills == [BATCH, BATCH, sum(value is None for value in before.values()) - 2 * BATCH]
        assert run(*dsn, "--force").status == DONE
        [(organization,)] = database.query("SELECT id FROM public.organizations WHERE slug = 'default-org'")
        assert (str(organization) == DEFAULT_ORGANIZATION) == (default == "ours")
        filled = {key: value or organization for key, value in before.items()}
        assert wrong(filled) == 0, "values of email_logs.client_id after the migration"
        assert database.query("SELECT conrelid::regclass FROM pg_constraint WHERE conname ~ '^phase_1_'") == []

        empties = batches(f"= '{organization}'", "--rollback")
        assert (max(empties), sum(empties)) == (BATCH, sum(fills))
        assert run(*dsn, "--rollback", "--force").status == DONE
        assert wrong(before) == 0, "values of email_logs.client_id after the rollback"
        left = {name: each for name, each in bench.state()[0].items() if "migration_log" not in name}
        assert left == objects


@pytest.mark.claim("existing-client-id-kept")
def test_client_id_without_a_null_is_not_written(templates: Templates) -> None:
    """A client_id that is complete already is tied to organizations, and not one of its rows is written.

    Writing them all doubles the table and fires the triggers of the application, for nothing.
    """
    with workbench(templates, "founding") as bench:
        bench.do(ORGANIZATIONS)
        bench.do(REQUIRED_CLIENT_ID)
        before = bench.database.rows_with_xmin(["email_logs"])
        assert run("--dsn", bench.database.owner_dsn, "--force").status == DONE
        assert bench.database.rows_with_xmin(["email_logs"]) == before
        assert run("--dsn", bench.database.owner_dsn, "--rollback", "--force").status == DONE
        assert bench.database.query(
            "SELECT attnotnull, atthasdef FROM pg_attribute"
            " WHERE attrelid = 'public.email_logs'::regclass AND attname = 'client_id'"
        ) == [(True, False)]


@pytest.mark.claim("existing-client-id-kept", "writes-pinned")
@pytest.mark.parametrize("how", ["a restrictive policy", "every permissive policy"])
def test_clients_that_the_application_keeps_apart_write_as_before(how: str, templates: Templates) -> None:
    """Where policies of the application keep the web API to a client, they go on doing it, and Phase 1 pins nobody.

    Its clients' updates would touch no row from that day on, without an error.
    """
    with workbench(templates, "deployed") as bench:
        bench.do(KEPT_APART)
        if how != "a restrictive policy":
            bench.do(
                "DROP POLICY of_client ON public.products; ALTER POLICY products_write ON public.products"
                " USING (client_id = current_setting('app.client')::uuid) WITH CHECK"
                " (client_id = current_setting('app.client')::uuid)"
            )
        acme = "11111111-1111-4111-8111-111111111111"

        def written() -> tuple[int, ...]:
            with bench.database.connect() as session, session.transaction(force_rollback=True):
                session.execute(f"SET LOCAL ROLE authenticated; SET LOCAL app.client = '{acme}'".encode())
                return tuple(
                    session.execute(statement.encode()).rowcount
                    for statement in (
                        f"INSERT INTO public.products (ean, name, client_id) VALUES ('new', 'Lamp', '{acme}')",
                        "UPDATE public.products SET name = 'edited'",
                        "DELETE FROM public.products WHERE ean = 'new'",
                    )
                )

        before = written()
        assert all(before)
        dsn = ("--dsn", bench.database.owner_dsn)
        assert run(*dsn, "--force").status == DONE
        assert written() == before
        assert run(*dsn, "--verify").status == DONE
        assert "Nothing to do" in run(*dsn, "--force").out
        assert bench.database.query(
            "SELECT polrelid::regclass::text, count(*) FROM pg_policy WHERE polname LIKE 'phase_1_client_pinned%'"
            " AND polrelid IN ('public.products'::regclass, 'public.uploads'::regclass) GROUP BY 1"
        ) == [("uploads", 3)]
        assert run(*dsn, "--rollback", "--force").status == DONE


@pytest.mark.claim("cost-is-foreseen")
def test_estimate_recommends_online_above_three_seconds_of_locks(templates: Templates, evidence: Evidence) -> None:
    """The estimate follows the rows, and from 3 s of held locks on the transactional mode recommends --online.

    Whoever is not told stops every read of the application for as long as the indexes take.
    """
    with workbench(templates, "founding") as bench:
        dsn = ("--dsn", bench.database.owner_dsn, "--dry-run")
        small = run(*dsn)
        assert "use --online" not in small.err
        assert "It will hold its locks for about 0.0 s" in small.err
        # What ANALYZE would write for a large table; no test needs to load one.
        bench.do("UPDATE pg_class SET reltuples = 4e6 WHERE oid = 'public.sellout_entries2'::regclass")
        cost = run(*dsn, "--json").json["cost"]
        evidence("cost foreseen for 4 million sales", cost)
        assert 10 < cost["seconds"] < 15, cost
        assert "use --online" in run(*dsn).err
        assert "use --online" not in run(*dsn, "--online").err


@pytest.mark.claim("cost-is-foreseen")
def test_estimate_of_a_table_that_nobody_has_analysed_is_a_guess_from_its_size(
    templates: Templates, evidence: Evidence
) -> None:
    """Rows that the planner does not know yet are guessed from the size, which is said; ANALYZE makes them known.

    A restored dump of a hundred million rows would be announced as 0 rows, 0 seconds and 0 bytes.
    """
    with workbench(templates, "founding") as bench:
        bench.do(
            # TRUNCATE makes PostgreSQL forget what it knew.
            "ALTER TABLE public.email_logs SET (autovacuum_enabled = off); TRUNCATE public.email_logs;"
            "INSERT INTO public.email_logs (recipient) SELECT n || '@example.com' FROM generate_series(1, 30000) AS n"
        )
        dsn = ("--dsn", bench.database.owner_dsn, "--dry-run")
        guessed = run(*dsn, "--json").json
        rows = guessed["tables"]["email_logs"]["rows"]
        evidence("rows of a table that was never analysed", {"guessed": rows, "there": 30000})
        assert guessed["cost"]["guessed"] == ["email_logs"]
        assert 15000 < rows < 60000
        assert "after an ANALYZE" in run(*dsn).err
        bench.do("ANALYZE public.email_logs")
        known = run(*dsn, "--json").json
        assert (known["tables"]["email_logs"]["rows"], known["cost"]["guessed"]) == (30000, [])
        assert known["cost"]["index_bytes"] > 30000
        # Empty and known to be so, with pages that are kept for later.
        bench.do("DELETE FROM public.email_logs; ANALYZE public.email_logs")
        empty = run(*dsn, "--json").json
        assert (empty["tables"]["email_logs"]["rows"], empty["cost"]["guessed"]) == (0, [])


@pytest.mark.claim("cost-is-foreseen")
def test_estimate_of_the_disk_is_right_within_a_factor_of_two(templates: Templates, evidence: Evidence) -> None:
    """The disk that the new indexes are said to take is what they take, give or take a factor of two.

    A disk that fills up in the middle of a migration stops the whole server.
    """
    with workbench(templates, "founding") as bench:
        bench.do(
            "INSERT INTO public.products (ean, name) SELECT 4000000000000 + n, 'a product'"
            " FROM generate_series(1, 30000) AS n; ANALYZE public.products"
        )
        dsn = ("--dsn", bench.database.owner_dsn)
        foreseen = run(*dsn, "--dry-run", "--json").json["cost"]["index_bytes"]
        assert run(*dsn, "--force").status == DONE
        [(taken,)] = bench.database.query("SELECT pg_relation_size('public.idx_products_client_ean')")
        evidence("bytes of the indexes", {"foreseen": foreseen, "taken": taken})
        assert taken / 2 < foreseen < taken * 2, "idx_products_client_ean"


@pytest.mark.claim("no-superuser-needed")
@pytest.mark.parametrize("mode", ["transactional", "online"])
def test_owner_of_the_tables_migrates_and_goes_back_without_any_other_right(
    mode: str, variant: str, templates: Templates
) -> None:
    """A role that owns the tables and may create in public does it all; so does a member of that role.

    On a hosted database nobody is a superuser: a migration that needs one cannot be run there.
    """
    options = ["--online"] if mode == "online" else []
    with workbench(templates, variant) as bench:
        bench.do("CREATE TABLE public.marker (); ALTER TABLE public.marker OWNER TO {role}; DROP TABLE public.marker")
        bench.do("GRANT app_owner TO {role}; ALTER ROLE {role} LOGIN")
        bench.database.execute(f"ALTER ROLE \"{bench.role}\" PASSWORD '{bench.role}'")
        for role in (OWNER, bench.role):
            rights = bench.database.query(
                "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles"
                " WHERE rolname = %s",
                role,
            )
            assert rights == [(False,)]
            dsn = ("--dsn", bench.database.dsn(role), "--force", *options)
            for arguments in ((), ("--rollback", "--purge-log")):
                ended = run(*dsn, *arguments)
                assert ended.status == DONE, ended.err


@pytest.mark.claim("preflight-refuses", "no-superuser-needed")
@pytest.mark.parametrize("action", [[], ["--rollback"]], ids=["migration", "rollback"])
def test_role_that_owns_nothing_is_refused(action: list[str], templates: Templates) -> None:
    """A role that may only read is told whose tables they are, and nothing is touched.

    It would fail in the middle, at the first statement that only an owner may run.
    """
    with workbench(templates, "founding-migrated" if action else "founding") as bench:
        bench.do("GRANT SELECT ON ALL TABLES IN SCHEMA public TO staging_reader")
        before = bench.state()
        result = run("--dsn", bench.database.dsn("staging_reader"), "--force", *action)
        assert result.status == REFUSED
        assert "connect as app_owner" in result.err
        assert bench.state() == before


@pytest.mark.claim("preflight-refuses")
@pytest.mark.parametrize("table", ["migration_log", "organizations"])
def test_migration_run_by_a_superuser_is_not_taken_up_by_the_owner(table: str, templates: Templates) -> None:
    """Where another role has migrated, whoever cannot read what it left is told who that was.

    Without the log everything looks as if nobody had migrated, and the second run would break the first.
    """
    with workbench(templates, "founding-migrated") as bench:
        bench.do(f"ALTER TABLE public.{table} OWNER TO {{superuser}}")
        before = bench.state()
        for action in ([], ["--rollback"], ["--verify"], ["--status"]):
            result = run("--dsn", bench.database.owner_dsn, *action)
            assert result.status == REFUSED
            assert f"does not see every row of public.{table}" in result.err
            assert f"connect as {bench.database.server.user}" in result.err
        assert bench.state() == before


@pytest.mark.claim("preflight-warns")
def test_transaction_that_is_old_is_named(old: Old) -> None:
    """A transaction of more than five seconds is named with its process, state and query; a young one is not.

    The migration would wait for it, give way, and try again until it gives up.
    """
    database, connection = old
    young = database.connect(OWNER, autocommit=False, application_name="young")
    while not connection.execute("SELECT clock_timestamp() - now() > INTERVAL '5 s'").fetchall()[0][0]:
        young.execute("SELECT pg_sleep(0.05)")  # what is awaited here is time itself
        young.rollback()
    young.execute("SELECT 1")
    process = connection.info.backend_pid
    for action, state in [([], "idle in transaction"), (["--rollback"], "idle in transaction"), ([], "active")]:
        if state == "active":
            # Its workers are in the transaction as well, and end with it.
            setting = "debug_parallel_query" if connection.info.server_version >= 160_000 else "force_parallel_mode"
            connection.pgconn.send_query(f"SET {setting} = on; SELECT pg_sleep(600)".encode())
            wait_for(database, "SELECT FROM pg_stat_activity WHERE backend_type = 'parallel worker'")
        result = run("--dsn", database.owner_dsn, "--dry-run", "--json", *action)
        [found] = result.of("transactions_are_short")
        assert (result.status, found["level"]) == (DONE, "warning")
        assert found["object"] == f"process {process} (app_owner, nightly report)"
        assert f"state {state}: " in found["problem"]
        # Of the query what comes before its first literal, which may be a password.
        assert found["problem"].endswith(
            "SELECT pg_sleep(600)" if state == "active" else "SELECT clock_timestamp() - now() > INTERVAL ..."
        )
    database.execute(f"SELECT pg_cancel_backend({process})")
    while connection.pgconn.get_result() is not None:
        pass
    database.execute(found["action"].removeprefix("let it end, or end it: "))
    with pytest.raises(errors.AdminShutdown):
        connection.execute("SELECT 1")
    for action in ([], ["--rollback"]):
        assert run("--dsn", database.owner_dsn, "--dry-run", "--json", *action).findings == []


@pytest.mark.claim("preflight-refuses")
def test_prepared_transaction_is_not_taken_for_another_or_for_who_waits_for_it(templates: Templates) -> None:
    """A prepared transaction of another database is nothing here; what waits for one has locks of its own.

    Somebody would be told to end a transaction that is in nobody's way.
    """
    with workbench(templates, "founding") as bench, workbench(templates, "founding") as elsewhere:
        # In a database that is a copy too, the table has the same OID.
        prepare("public.uploads", "elsewhere")(elsewhere.database)
        bench.do("CREATE TABLE public.news (id int PRIMARY KEY)")
        bench.do(f"BEGIN; INSERT INTO public.news VALUES (1); PREPARE TRANSACTION '{bench.database.name}'")
        waiting = bench.database.connect(autocommit=False)
        waiting.execute("SELECT count(*) FROM public.uploads")
        waiting.pgconn.send_query(b"INSERT INTO public.news VALUES (1)")
        wait_for(bench.database, "SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
        assert bench.findings("prepared_transactions_hold_no_lock", "preflight", OWNER) == []


@pytest.mark.claim("preflight-warns")
def test_publication_of_everything_is_no_news_once_the_new_tables_are_there(templates: Templates) -> None:
    """Where the new tables are there already, a publication of every table is not warned of.

    A warning that comes back on each run is one that nobody reads.
    """
    with workbench(templates, "founding-migrated") as bench:
        bench.do("CREATE PUBLICATION ours FOR ALL TABLES")
        assert bench.findings("publications_of_everything_are_expected", "preflight", OWNER) == []


@pytest.mark.claim("preflight-warns")
@pytest.mark.parametrize("rollback", [[], ["--rollback"]], ids=["migration", "rollback"])
def test_transaction_whose_age_is_hidden_is_named(rollback: list[str], templates: Templates) -> None:
    """Who has a lock on a tenant table and cannot be looked at is named, with the GRANT that helps.

    An hour of a report is no row in what the role sees, and the migration would wait for it in vain.
    """
    check = "transactions_can_be_seen"
    stage = "rollback" if rollback else "preflight"
    kind = "founding" + ("-migrated" if rollback else "")
    with workbench(templates, kind) as bench, workbench(templates, kind) as elsewhere:
        # In a database that is a copy too, the table has the same OID.
        elsewhere.do("GRANT SELECT ON public.uploads TO authenticator")
        elsewhere.database.connect("authenticator", autocommit=False).execute("SELECT count(*) FROM public.uploads")
        bench.do("GRANT app_owner TO {role}; ALTER ROLE {role} LOGIN; GRANT SELECT ON public.uploads TO authenticator")
        bench.database.execute(f"ALTER ROLE \"{bench.role}\" PASSWORD '{bench.role}'")
        bench.do("CREATE TABLE public.news (); GRANT SELECT ON public.news TO authenticator")
        other = bench.database.connect("authenticator", autocommit=False, application_name="nightly report")
        own = bench.database.connect(OWNER, autocommit=False)
        own.execute("SELECT count(*) FROM public.uploads")
        other.execute("SELECT count(*) FROM public.news")
        assert bench.findings(check, stage, bench.role) == []
        other.execute("SELECT count(*) FROM public.uploads")
        # A superuser sees all of it.
        assert bench.findings(check, stage, None) == []
        result = run("--dsn", bench.database.dsn(bench.role), "--dry-run", "--json", *rollback)
        [found] = result.of(check)
        assert (result.status, found["level"]) == (DONE, "warning")
        assert found["object"] == f"process {other.info.backend_pid} (authenticator, nightly report)"
        assert found["problem"].startswith("has a lock on public.uploads, or waits for one; ")
        bench.database.execute(found["action"].partition("as a superuser: ")[2])
        assert bench.findings(check, stage, bench.role) == []


@pytest.mark.claim("existing-client-id-kept", "online-resumes")
@pytest.mark.parametrize("then", ["rollback", "resumed, then rollback"])
def test_fill_that_stops_between_two_batches_is_completed_or_taken_back(then: str, templates: Templates) -> None:
    """An online run that stops after some batches knows of them: a rollback empties them, a second run fills the rest.

    Rows would be left with the id of an organization that is gone, while the runner says that all is as it was.
    """
    with workbench(templates, "founding") as bench:
        bench.do(ORGANIZATIONS)
        bench.do(
            f"""
            ALTER TABLE public.email_logs ADD COLUMN client_id uuid;
            ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_pkey, DROP COLUMN id,
                ADD COLUMN id bigserial PRIMARY KEY;
            INSERT INTO public.email_logs (recipient, client_id)
            SELECT n || '@example.com', CASE n % 10 WHEN 0 THEN '11111111-1111-4111-8111-111111111111'::uuid END
            FROM generate_series(1, {2 * BATCH + 3000}) AS n;
            CREATE FUNCTION public.stop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE SQLSTATE ''57014''; END';
            CREATE TRIGGER stop BEFORE UPDATE ON public.email_logs FOR EACH ROW
                WHEN (OLD.recipient = '{BATCH + 2001}@example.com') EXECUTE FUNCTION public.stop();
            ANALYZE public.email_logs
            """
        )
        values = "SELECT client_id, count(*) FROM public.email_logs GROUP BY 1 ORDER BY 1"
        before = bench.database.query(values)
        dsn = ("--dsn", bench.database.owner_dsn, "--online", "--force")
        assert run(*dsn).status == STOPPED
        counts: dict[UUID | None, int] = dict(bench.database.query(values))
        assert counts[UUID(DEFAULT_ORGANIZATION)] == BATCH
        bench.do("DROP TRIGGER stop ON public.email_logs")
        if then != "rollback":
            assert run(*dsn).status == DONE
            assert None not in dict(bench.database.query(values))
        assert run(*dsn, "--rollback").status == DONE
        assert bench.database.query(values) == before
