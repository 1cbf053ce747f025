"""``tox -e controls``: for each claim the smallest changes that break its promise, and whether its tests notice.

A control is good if a test of the very claim fails on the changed copy, with a message that names the object, and
passes on the project as it is. Takes ids of claims as arguments, else all of them.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.claims import CLAIMS
from tests.support.sabotage import FAILED, PASSED, Change, Job, Outcome, run_all, write_report

SCHEMA, ROLLBACK = "sql/phase_1_multitenant_schema.sql", "sql/phase_1_rollback.sql"
PREFLIGHT, VERIFY, QUERIES = "sql/phase_1_preflight.sql", "sql/phase_1_verify.sql", "sql/phase_1_queries.sql"
INVENTORY, FOUND, PLAN, APPLY = "phase_1/inventory.py", "phase_1/found.py", "phase_1/plan.py", "phase_1/apply.py"
RUNNER = "migrate.py"

_PATHS = ("tests/certification", "tests/tools/test_command_line.py", "tests/tools/test_secrets.py")
_MIGRATED = '    status = migrate.main(["--dsn", database.owner_dsn, "--force"])\n'


@dataclass(frozen=True)
class Control:
    """A change that breaks a claim; ``says`` is a pattern that the failure has to match.

    The tests of the claim whose ids contain ``first`` are run first.
    """

    claim: str
    sabotage: str
    changes: tuple[Change, ...]
    says: str
    first: tuple[str, ...]


def after(statements: str) -> Change:
    """The migrated databases of the tests, with something done to them that no change of the SQL would do."""
    done = f"    database.execute({statements!r})\n"
    return Change("tests/plugins/database.py", _MIGRATED, _MIGRATED + done)


def _controls() -> Iterator[Control]:
    for claim, controls in _CONTROLS.items():
        for sabotage, said, *changes in controls:
            # "test: pattern", or a pattern whose words may be in the id of a test.
            test, _, says = said.rpartition(": ")
            yield Control(claim, sabotage, tuple(changes), says, (test,) if test else tuple(says.split("|")))


_ADD = "ADD COLUMN client_id uuid NOT NULL DEFAULT :'default_organization';"
_ANALYZE = 'ANALYZE public.:"table" (client_id);'
_MEMBERSHIPS = "SELECT id, client_id FROM public.users\nWHERE :batch\nON CONFLICT"
_LOG_GRANT = "GRANT SELECT ON TABLE public.migration_log TO :service_role;"
_CREATE_INDEX = 'CREATE INDEX :concurrently :"index" ON public.:"table" (:columns) :where;'

_CONTROLS: dict[str, list[tuple[Any, ...]]] = {
    "organizations-shape": [
        (
            "a column comes before another",
            r"At index 1 diff: \('slug'.* != \('name'",
            Change(
                SCHEMA,
                "    name text NOT NULL UNIQUE,\n    slug text NOT NULL UNIQUE,",
                "    slug text NOT NULL UNIQUE,\n    name text NOT NULL UNIQUE,",
            ),
        ),
        (
            "a key is gone",
            r"UNIQUE \(slug\)",
            after("ALTER TABLE public.organizations DROP CONSTRAINT organizations_slug_key"),
        ),
        ("a default is gone", "settings", after("ALTER TABLE public.organizations ALTER settings DROP DEFAULT")),
        ("a column may be NULL", "name", after("ALTER TABLE public.organizations ALTER name DROP NOT NULL")),
    ],
    "memberships-shape": [
        (
            "a user is a member twice",
            r"UNIQUE \(user_id, organization_id\)",
            after(
                "ALTER TABLE public.user_organizations DROP CONSTRAINT user_organizations_user_id_organization_id_key"
            ),
        ),
        (
            "a membership outlives its user",
            "ON DELETE CASCADE",
            after(
                "ALTER TABLE public.user_organizations DROP CONSTRAINT user_organizations_user_id_fkey,"
                " ADD CONSTRAINT user_organizations_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users (id)"
            ),
        ),
    ],
    "migration-log-shape": [
        (
            "the log takes any state",
            "CHECK",
            after("ALTER TABLE public.migration_log DROP CONSTRAINT migration_log_status_check"),
        ),
        (
            "a time may be set by hand",
            "clock_timestamp",
            after("ALTER TABLE public.migration_log ALTER created_at SET DEFAULT now()"),
        ),
        (
            "the entry of the migration is missing",
            "migrate",
            Change(PLAN, "        statements.append(self.note(operation, summary(self._found)))\n", ""),
        ),
    ],
    "client-id-column": [
        ("the default is gone", "uploads.*None", after("ALTER TABLE public.uploads ALTER client_id DROP DEFAULT")),
        (
            "the foreign key was never validated",
            "products.*validated",
            after(
                "ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey, ADD CONSTRAINT"
                " products_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.organizations (id)"
                " ON DELETE RESTRICT NOT VALID"
            ),
        ),
        (
            "rows go with their organization",
            "email_logs.*ON DELETE CASCADE",
            after(
                "ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_client_id_fkey, ADD CONSTRAINT"
                " email_logs_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.organizations (id)"
                " ON DELETE CASCADE"
            ),
        ),
        ("a row may be nobody's", "users", after("ALTER TABLE public.users ALTER client_id DROP NOT NULL")),
    ],
    "old-application-works": [
        ("the default is gone", "client_id", after("ALTER TABLE public.uploads ALTER client_id DROP DEFAULT")),
        (
            "the web API may not write what it wrote",
            "test_web_api: 42501|permission denied",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nREVOKE INSERT ON public.:"table" FROM :api_roles;'),
        ),
    ],
    "existing-users-are-members": [
        (
            "a user is left out",
            r"member",
            Change(
                SCHEMA,
                _MEMBERSHIPS,
                _MEMBERSHIPS.replace(":batch", ":batch AND id <> (SELECT min(id::text)::uuid FROM public.users)"),
            ),
        ),
        (
            "what is read is older than the locks",
            "signs_up: late@example.com",
            Change(PLAN, "ISOLATION LEVEL READ COMMITTED, READ WRITE", "READ WRITE"),
        ),
        (
            "the memberships are not active",
            "member.*False",
            after("UPDATE public.user_organizations SET is_active = FALSE"),
        ),
    ],
    "indexes-present": [
        (
            "the columns of an index are swapped",
            "idx_sellout_entries2_client_month_year",
            Change(INVENTORY, '("year", "month"), also', '("month", "year"), also'),
        ),
        (
            "an index is left out",
            "idx_sellout_entries2_client_reseller",
            Change(INVENTORY, '            Index("sellout_entries2", ("reseller",), also=("year", "month")),\n', ""),
        ),
        (
            "an index ends before what is summed up",
            "product_ean",
            Change(INVENTORY, '("year", "month"), also=("product_ean",)', '("year", "month")'),
        ),
        (
            "an index is dropped",
            "idx_uploads_client_user_id",
            after("DROP INDEX public.idx_uploads_client_user_id"),
        ),
        (
            "an index is invalid",
            "idx_products_client_ean",
            after(
                "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'public.idx_products_client_ean'::regclass"
            ),
        ),
        (
            "an index has its client last",
            "idx_products_client_ean",
            after(
                "DROP INDEX public.idx_products_client_ean;"
                "CREATE INDEX idx_products_client_ean ON public.products (ean, client_id)"
            ),
        ),
        (
            "a foreign key has no index",
            "user_organizations_organization_id",
            Change(SCHEMA, "CREATE INDEX ON public.user_organizations (organization_id);\n", ""),
        ),
    ],
    "index-serves-its-query": [
        (
            "an index is dropped",
            "uploads_of_a_user|idx_uploads_client_user_id",
            after("DROP INDEX public.idx_uploads_client_user_id"),
        ),
        (
            "a query names the index of another",
            "idx_uploads_client_user_id",
            Change(QUERIES, "-- index: idx_uploads_client_user_id", "-- index: idx_uploads_client_status"),
        ),
        (
            "a query is not of one client",
            "product_by_ean|idx_products_client_ean",
            Change(
                QUERIES,
                "SELECT * FROM public.products\nWHERE client_id = :'client_id' AND ean = :'ean';",
                "SELECT * FROM public.products\nWHERE ean = :'ean';",
            ),
        ),
    ],
    "statistics-present": [
        ("nothing is analyzed", "sellout_entries2", Change(SCHEMA, _ANALYZE, "SELECT 1;")),
        ("another column is analyzed", "users", Change(SCHEMA, _ANALYZE, 'ANALYZE public.:"table" (id);')),
    ],
    "time-columns-resolved": [
        ("a known name is not known", "sent_at", Change(INVENTORY, ', "logged_at", "sent_at")', ', "logged_at")')),
        (
            "what is said on the command line is not heard",
            "time_column|received_at",
            Change(FOUND, "name = table.time_column\n", "name = TIME\n"),
        ),
    ],
    "existing-client-id-kept": [
        (
            "values that were there are overwritten",
            "test_client_id_that_was_there: 00000000-0000-4000-8000-000000000001",
            Change(SCHEMA, "WHERE client_id IS NULL AND :batch;", "WHERE :batch;"),
        ),
        (
            "the rollback leaves the values",
            "00000000-0000-4000-8000-000000000001|None",
            Change(ROLLBACK, "SET client_id = NULL\n", "SET client_id = client_id\n"),
        ),
    ],
    "invalid-index-rebuilt": [
        (
            "an invalid index is taken for a good one",
            "idx_uploads_client_user_id",
            Change(
                SCHEMA,
                "WHERE indexrelid = to_regclass('public.' || :'index') AND indisvalid AND indisready)\nCREATE INDEX",
                "WHERE indexrelid = to_regclass('public.' || :'index'))\nCREATE INDEX",
            ),
            Change(SCHEMA, "AND NOT (indisvalid AND indisready))\nDROP INDEX", "AND FALSE)\nDROP INDEX"),
        ),
        (
            "another index of that name is taken for ours",
            "index_name_is_free",
            Change(PREFLIGHT, "    OR am.amname <> 'btree' OR i.indisunique\n", "    OR am.amname <> 'btree'\n"),
        ),
    ],
    "preflight-refuses": [
        (
            "a check finds nothing",
            "role_owns_the_table",
            Change(PREFLIGHT, "WHERE NOT pg_has_role(c.relowner, 'USAGE');", "WHERE FALSE;"),
        ),
        (
            "a check refuses the near miss",
            "attribute_numbers_are_left",
            Change(PREFLIGHT, "WHERE c.relnatts >= 1600\n", "WHERE c.relnatts >= 1590\n"),
        ),
        (
            "an error does not refuse",
            "assert",
            Change(
                RUNNER,
                "    if any(finding.level == ERROR for finding in findings):\n        console.complain(",
                "    if False:\n        console.complain(",
            ),
        ),
    ],
    "preflight-warns": [
        (
            "a warning is given without need",
            "publications_carry_no_tenant_table",
            Change(PREFLIGHT, "to_jsonb(r) ->> 'prattrs' IS NOT NULL);", "to_jsonb(r) ->> 'prattrs' = 'none');"),
        ),
        (
            "a warning is not given",
            "few_attribute_numbers_are_left",
            Change(PREFLIGHT, "WHERE c.relnatts BETWEEN 1500 AND 1599;", "WHERE FALSE;"),
        ),
    ],
    "no-superuser-needed": [
        (
            "a setting is for superusers only",
            "test_owner_of_the_tables: log_statement",
            Change(
                SCHEMA,
                "SET search_path = '';\nSET lock_timeout = :'concurrently_timeout';",
                "SET log_statement = 'none';\nSET search_path = '';\nSET lock_timeout = :'concurrently_timeout';",
            ),
        ),
    ],
    "organization-of-user": [
        (
            "a membership that is not active counts",
            "inactive|is_active|assert",
            Change(
                SCHEMA,
                "WHERE m.user_id = u.id AND m.is_active AND o.is_active",
                "WHERE m.user_id = u.id AND o.is_active",
            ),
        ),
        (
            "the user's own client does not come first",
            "assert",
            Change(SCHEMA, "ORDER BY m.organization_id = u.client_id DESC, m.created_at", "ORDER BY m.created_at"),
        ),
        (
            "the youngest membership decides",
            "assert",
            Change(SCHEMA, "u.client_id DESC, m.created_at, m.id", "u.client_id DESC, m.created_at DESC, m.id"),
        ),
    ],
    "client-access": [
        (
            "a membership that is not active gives access",
            "True",
            Change(SCHEMA, "AND m.organization_id = o.id AND m.is_active)\n", "AND m.organization_id = o.id)\n"),
        ),
        (
            "a user without a membership has access to every organization",
            "True",
            Change(SCHEMA, "ELSE u.client_id = o.id\n", "ELSE TRUE\n"),
        ),
        (
            "an organization that is not active gives access",
            "True",
            Change(
                SCHEMA,
                "WHERE o.id = validate_client_access.client_id AND o.is_active\n",
                "WHERE o.id = validate_client_access.client_id\n",
            ),
        ),
        (
            "NULL is answered with access",
            "True|None",
            Change(
                SCHEMA,
                "#variable_conflict use_column\nBEGIN\n    RETURN EXISTS (",
                "#variable_conflict use_column\nBEGIN\n    RETURN validate_client_access.client_id IS NULL OR EXISTS (",
            ),
        ),
        (
            "the answer is NULL",
            "None",
            Change(SCHEMA, "    RETURN EXISTS (\n", "    RETURN nullif(EXISTS (\n"),
            Change(
                SCHEMA,
                "    );\nEND;\n$function$;\nREVOKE ALL ON FUNCTION public.validate_client_access",
                "    ), FALSE);\nEND;\n$function$;\nREVOKE ALL ON FUNCTION public.validate_client_access",
            ),
        ),
    ],
    "data-integrity": [
        (
            "a row may disagree with its parent",
            "disagreeing",
            Change(SCHEMA, "'WHERE c.client_id IS DISTINCT FROM p.client_id'", "'WHERE FALSE'"),
        ),
        (
            "a row without a client is not counted",
            "without_client",
            Change(SCHEMA, "FROM public.%I WHERE client_id IS NULL'", "FROM public.%I WHERE FALSE'"),
        ),
        (
            "a client that does not exist is not noticed",
            "unknown_client",
            Change(SCHEMA, "'SELECT FROM public.organizations AS o WHERE o.id = t.client_id)'", "'SELECT)'"),
        ),
        (
            "violations pass",
            "passed",
            Change(SCHEMA, "CASE WHEN violations = 0 THEN 'passed'", "CASE WHEN violations >= 0 THEN 'passed'"),
        ),
        (
            "a function made for fewer tables is taken for done",
            "test_integrity_looks_at_tables: sellout_entries2",
            Change(
                SCHEMA, "pg_catalog.quote_literal(wanted.name)) = 0)", "pg_catalog.quote_literal(wanted.name)) < 0)"
            ),
        ),
    ],
    "functions-are-hardened": [
        (
            "the search_path is the caller's",
            "test_functions_are_stable: validate_client_access",
            after("ALTER FUNCTION public.validate_client_access(uuid, uuid) RESET search_path"),
        ),
        (
            "PUBLIC may execute a function",
            "get_user_organization_id",
            after("GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO PUBLIC"),
        ),
        (
            "a function is VOLATILE",
            "test_functions_are_stable: get_user_organization_id",
            after("ALTER FUNCTION public.get_user_organization_id(uuid) VOLATILE"),
        ),
        (
            "a function runs with its caller's rights",
            "test_functions_are_stable: validate_client_access",
            after("ALTER FUNCTION public.validate_client_access(uuid, uuid) SECURITY INVOKER"),
        ),
        (
            "a check does not see every row, and passes",
            "test_functions_are_stable: validate_client_data_integrity",
            after("ALTER FUNCTION public.validate_client_data_integrity() RESET row_security"),
        ),
    ],
    "access-matrix": [
        ("anon may read the clients", "anon", after("GRANT SELECT ON public.organizations TO anon")),
        ("anon may read a column", "anon", after("GRANT SELECT (name) ON public.organizations TO anon")),
        ("service_role may not read the log", "service_role", Change(SCHEMA, _LOG_GRANT + "\n", "")),
        (
            "authenticated may draw numbers of the log",
            "authenticated",
            after("GRANT USAGE ON SEQUENCE public.migration_log_id_seq TO authenticated"),
        ),
    ],
    "attacks-fail": [
        (
            "anon may empty everything",
            "test_attacks: (?i)truncate|empty",
            after("GRANT TRUNCATE ON public.organizations TO anon"),
        ),
        (
            "a new table has no row security",
            "user_organizations",
            after("ALTER TABLE public.user_organizations DISABLE ROW LEVEL SECURITY"),
        ),
        (
            "a policy is gone",
            "organizations",
            after(
                "DROP POLICY phase_1_denied ON public.organizations;"
                " CREATE POLICY p ON public.organizations USING (TRUE)"
            ),
        ),
    ],
    "writes-pinned": [
        (
            "a row may be put into another client",
            "uploads",
            after("DROP POLICY phase_1_client_pinned ON public.uploads"),
        ),
        (
            "a row may be taken to another client",
            "products",
            after("DROP POLICY phase_1_client_pinned_update ON public.products"),
        ),
        (
            "a row of another client may be deleted",
            "email_logs",
            after("DROP POLICY phase_1_client_pinned_delete ON public.email_logs"),
        ),
        (
            "a policy of another table stands for the pins",
            "test_pins_are_asked_for: sellout_entries2",
            Change(VERIFY, "AND format('%s %s', found.name, wanted.command) <> ALL (:phase_2)", "AND :phase_2 = '{}'"),
        ),
    ],
    "nothing-else-granted": [
        (
            "a role may read more than before",
            "client_id|uploads",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nGRANT SELECT ON public.:"table" TO :api_roles;'),
        ),
        (
            "row security goes on where it was off",
            "test_access_to_what_was_there: public.users",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nALTER TABLE public.:"table" ENABLE ROW LEVEL SECURITY;'),
        ),
    ],
    "verify-finds-violations": [
        (
            "a check finds nothing",
            "statistics_are_there",
            Change(VERIFY, "WHERE c.reltuples > 0\n", "WHERE FALSE\n"),
        ),
        (
            "a check finds what is none",
            "foreign_keys_have_an_index",
            Change(VERIFY, "AND i.indpred IS NULL AND i.indkey[0] = c.conkey[1]);", "AND FALSE);"),
        ),
    ],
    "generated-rows-survive": [
        (
            "a row is lost on the way back",
            "email_logs",
            Change(
                ROLLBACK,
                "    DROP COLUMN client_id;",
                "    DROP COLUMN client_id;\nDELETE FROM public.email_logs;",
            ),
        ),
        (
            "a user is no member",
            r"\[\]|members|UUID",
            Change(SCHEMA, _MEMBERSHIPS, _MEMBERSHIPS.replace(":batch", ":batch AND FALSE")),
        ),
    ],
    "generated-schemas-survive": [
        (
            "a difference is not refused",
            "client_id",
            Change(
                PREFLIGHT, "WHERE a.atttypid <> 'uuid'::regtype OR a.attgenerated <> ''", "WHERE a.attgenerated <> ''"
            ),
        ),
    ],
    "rows-untouched": [
        (
            "every row is written again",
            "users|ctid|\\(0,",
            Change(SCHEMA, _ADD, _ADD + '\nUPDATE public.:"table" SET client_id = client_id;'),
        ),
        (
            "a trigger of the application fires",
            "audit|entries|users",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nDELETE FROM public.:"table" WHERE FALSE;'),
        ),
    ],
    "rerun-does-nothing": [
        (
            "a step is never done",
            "analyze_table|ANALYZE",
            Change(
                SCHEMA, "-- needs: create_migration_log\n-- done: the log\nANALYZE", "-- done: SELECT FALSE\nANALYZE"
            ),
        ),
        (
            "a membership that was taken away comes back",
            "user_organizations|member",
            Change(SCHEMA, "-- needs: create_migration_log\n-- done: the log\nINSERT", "-- done: SELECT FALSE\nINSERT"),
        ),
        (
            "a default that was dropped comes back",
            "test_default_that_a_later_phase_drops: Nothing|False",
            Change(SCHEMA, "-- done: SELECT ARRAY['add_client_id('", "-- done: SELECT ARRAY['nothing('"),
        ),
    ],
    "dry-run-is-what-runs": [
        (
            "a statement runs that was not shown",
            "analyze|ANALYZE|LOCK|organizations",
            Change(
                APPLY,
                "cursor = session.execute(statement.sql)",
                'cursor = session.execute(statement.sql.replace(" ON DELETE RESTRICT", "  ON DELETE RESTRICT"))',
            ),
        ),
        (
            "a statement is shown that does not run",
            "SELECT 1",
            Change(PLAN, "\\\\set ON_ERROR_STOP on", "SELECT 1;"),
        ),
    ],
    "dry-run-only-reads": [
        (
            "the dry run asks for the lock of a run",
            "another runner is at work",
            Change(
                RUNNER,
                "        if options.dry_run:\n            return _stages(sessions, options, console, certificate)\n"
                "        with",
                "        with",
            ),
        ),
        (
            "the dry run creates something",
            "CREATE|assert",
            Change(
                RUNNER,
                "    console.plan(plan)\n    others",
                '    sessions.control.execute("CREATE TABLE IF NOT EXISTS public.seen ()")\n'
                "    console.plan(plan)\n    others",
            ),
        ),
    ],
    "modes-end-alike": [
        (
            "a grant is missing online",
            "service_role",
            Change(
                FOUND,
                '"service_role": SERVICE_ROLE if self.service_role else None',
                '"service_role": SERVICE_ROLE if self.service_role and not self.options.online else None',
            ),
        ),
    ],
    "failure-leaves-no-trace": [
        (
            "the transaction is cut in pieces",
            "migration_log|organizations|table",
            Change(
                PLAN,
                "        yield self.transaction(others, statements, opening)\n",
                "        for step in others:\n            yield self.transaction([step], self.statements(step))\n",
            ),
        ),
    ],
    "failure-is-logged": [
        (
            "the entry of the step is missing",
            "failed|client_id",
            Change(APPLY, 'failed.label == operation or self._sessions.log(failed.label, "failed", details)', "True"),
        ),
        (
            "the entry of the run is missing",
            "failed",
            Change(APPLY, 'self._sessions.log(operation, "failed", {**details, "step": failed.label})', "True"),
        ),
        (
            "the reason is missing",
            "error|sqlstate|None",
            Change(
                APPLY,
                'details = {"error": failed.message, "sqlstate": failed.sqlstate, "outcome"',
                'details = {"sqlstate": failed.sqlstate, "outcome"',
            ),
        ),
    ],
    "online-resumes": [
        (
            "an interrupted build leaves an invalid index",
            "idx_|invalid|valid",
            Change(
                PLAN,
                '        if step.section.name != "create_index":\n            return None\n        section',
                "        return None\n        section",
            ),
        ),
        (
            "a step that was done runs again",
            "create_organizations|organizations|exists",
            Change(SCHEMA, "-- done: SELECT to_regclass('public.organizations') IS NOT NULL", "-- done: SELECT FALSE"),
        ),
    ],
    "locks-are-as-stated": [
        (
            "a step takes a stronger lock than its header says",
            "AccessExclusiveLock|ACCESS EXCLUSIVE|ShareLock|SHARE",
            Change(SCHEMA, _ANALYZE, 'LOCK TABLE public.:"table" IN SHARE MODE;\n' + _ANALYZE),
        ),
        (
            "a header says less than the step takes",
            "validate_client_id_foreign_key",
            Change(
                SCHEMA,
                "-- lock: SHARE UPDATE EXCLUSIVE on the table, ROW SHARE on organizations",
                "-- lock: ROW SHARE on the table, ROW SHARE on organizations",
            ),
        ),
    ],
    "online-locks-nobody-out": [
        (
            "a table is read while nobody may read it",
            "users|add_client_id",
            Change(SCHEMA, _ADD, _ADD + '\nSELECT count(client_id) FROM public.:"table";'),
        ),
    ],
    "load-sees-no-failure": [
        (
            "a statement of the application fails",
            "57P01|terminat|closed",
            Change(
                SCHEMA,
                _ANALYZE,
                _ANALYZE + "\nSELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                " WHERE datname = current_database() AND usename = current_user AND application_name <> 'phase_1';",
            ),
        ),
    ],
    "acknowledged-rows-stay": [
        (
            "a row is lost on the way back",
            "email_logs",
            Change(
                ROLLBACK,
                "    DROP COLUMN client_id;",
                "    DROP COLUMN client_id;\n"
                "DELETE FROM public.email_logs WHERE ctid = (SELECT max(ctid) FROM public.email_logs);",
            ),
        ),
    ],
    "stalls-are-bounded": [
        (
            "a lock is held for seconds",
            "latency|Answer",
            Change(SCHEMA, _ADD, _ADD + "\nSELECT pg_catalog.pg_sleep(2);"),
        ),
    ],
    "lock-waits-give-way": [
        (
            "a lock is waited for as long as it takes",
            "test_application_waits: assert",
            Change(SCHEMA, "SET LOCAL lock_timeout = :'lock_timeout';", "SET LOCAL lock_timeout = '3s';"),
        ),
        (
            "who holds the lock is not named",
            "idler|process|pid|assert",
            Change(APPLY, "self.seen = blockers(self._control, self._pid) or self.seen", "self.seen = self.seen"),
        ),
        (
            "a deadlock is not tried again",
            "deadlock",
            Change(
                APPLY,
                "GIVE_WAY = (errors.LockNotAvailable, errors.DeadlockDetected)",
                "GIVE_WAY = (errors.LockNotAvailable,)",
            ),
        ),
    ],
    "commit-verdict-is-read-from-server": [
        (
            "an error is taken for a rollback",
            "committed|got through|assert",
            Change(
                APPLY,
                "return COMMITTED if _is_logged(control, noted.entry) else ROLLED_BACK",
                "return ROLLED_BACK",
            ),
        ),
        (
            "a commit under way is taken for a rollback",
            "committed|got through|assert",
            Change(APPLY, "if _is_in_progress(control, noted.transaction):", "if False:"),
        ),
    ],
    "faults-are-survived": [
        (
            "what was undone is told as done",
            "terminate-migrate-transactional: replay",
            Change(APPLY, "return COMMITTED if _is_logged(control, noted.entry) else ROLLED_BACK", "return COMMITTED"),
        ),
    ],
    "partitioned-tables-too": [
        (
            "an index of a partition is not attached",
            "test_partitioned: indisvalid|sellout_entries2|attach",
            Change(SCHEMA, 'ALTER INDEX public.:"whole_index" ATTACH PARTITION public.:"index";', "SELECT 1;"),
        ),
        (
            "the table itself has no foreign key",
            "test_partitioned: sellout_entries2|True",
            Change(
                SCHEMA,
                """ALTER TABLE public.:"table"
    ADD CONSTRAINT :"foreign_key" FOREIGN KEY (client_id)
    REFERENCES public.organizations (id) ON DELETE RESTRICT;""",
                "SELECT 1;",
            ),
        ),
    ],
    "certificate-gates": [
        (
            "a file that has changed is not noticed",
            "test_change_of_a_file: assert",
            Change("phase_1/certificate.py", "if any(told.values()):", "if False:"),
        ),
        (
            "a signature is not looked at",
            "test_tampering_with_the_signature: assert|DID NOT RAISE",
            Change("phase_1/certificate.py", "        opened.verify([key], 1)\n", ""),
        ),
    ],
    "schema-is-known": [
        (
            "any schema will do",
            "test_schema_that_was_not_certified: expected 1, got 0",
            Change("phase_1/certificate.py", "    if not lines:\n        return []\n", "    return []\n"),
        ),
    ],
    "lints-of-others-stay-quiet": [
        (
            "memberships of an organization have no index",
            "user_organizations",
            Change(SCHEMA, "CREATE INDEX ON public.user_organizations (organization_id);\n", ""),
        ),
        (
            "a new table has no row security",
            "organizations",
            Change(SCHEMA, "ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY;\n", ""),
        ),
    ],
    "settings-do-not-leak": [
        (
            "a setting outlives its transaction",
            "statement_timeout",
            Change(SCHEMA, "SET LOCAL statement_timeout = 0;", "SET statement_timeout = 0;"),
        ),
        ("a setting is not put back", "lock_timeout", Change(SCHEMA, "RESET lock_timeout;\n", "")),
    ],
    "one-runner-at-a-time": [
        (
            "the second runner goes ahead",
            "assert",
            Change(
                RUNNER,
                "        with sessions.alone():\n            return _stages",
                "        if True:\n            return _stages",
            ),
        ),
        (
            "the first runner is not named",
            "another runner is at work",
            Change(
                APPLY,
                '    if row is None:\n        return "another runner is at work"\n',
                '    return "another runner is at work"\n',
            ),
        ),
    ],
    "cost-is-foreseen": [
        ("the estimate is too low", "seconds|cost", Change(PLAN, "SECONDS_A_ROW = 3e-6", "SECONDS_A_ROW = 3e-7")),
        (
            "the online mode is not recommended",
            "--online",
            Change(PLAN, "SECONDS_THAT_HURT = 3.0", "SECONDS_THAT_HURT = 30.0"),
        ),
        ("the disk is not foreseen", "assert", Change(PLAN, "INDEX_ENTRY_BYTES = 48", "INDEX_ENTRY_BYTES = 8")),
    ],
    "baseline-recorded": [
        (
            "the log has no baseline",
            "baseline",
            Change(RUNNER, 'made.violations else "failed", made.as_dict())', 'made.violations else "failed", {})'),
        ),
        (
            "a query is missing from the baseline",
            "latest_users",
            Change(
                "phase_1/verify.py",
                "    for (section, query), plan in zip(sections, plans):",
                "    for (section, query), plan in list(zip(sections, plans))[1:]:",
            ),
        ),
    ],
    "rollback-restores-schema": [
        (
            "a policy is left behind",
            "phase_1_client_pinned_update",
            Change(ROLLBACK, 'DROP POLICY IF EXISTS phase_1_client_pinned_update ON public.:"table";\n', ""),
        ),
        (
            "a trigger is left behind",
            "purged: left_behind",
            Change(
                ROLLBACK,
                "DROP TABLE public.organizations;",
                "DROP TABLE public.organizations;\nCREATE TRIGGER left_behind BEFORE UPDATE ON public.users"
                " FOR EACH ROW EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger();",
            ),
        ),
        (
            "a grant is left behind",
            "purged: GRANT DELETE ON TABLE public.users TO PUBLIC",
            Change(
                ROLLBACK,
                "DROP TABLE public.organizations;",
                "DROP TABLE public.organizations;\nGRANT DELETE ON public.users TO PUBLIC;",
            ),
        ),
    ],
    "rollback-restores-rows": [
        (
            "a row is lost",
            "email_logs",
            Change(
                ROLLBACK,
                "    DROP COLUMN client_id;",
                "    DROP COLUMN client_id;\n"
                "DELETE FROM public.email_logs WHERE ctid = (SELECT max(ctid) FROM public.email_logs);",
            ),
        ),
    ],
    "rollback-stops-at-dependents": [
        (
            "what was built on top does not stop it",
            "assert|Dependent|DONE",
            Change(PREFLIGHT, "WHERE d.deptype IN ('n', 'a', 'i')\n", "WHERE d.deptype IN ('a', 'i')\n"),
        ),
        (
            "what was built on top goes too",
            "assert",
            Change(PREFLIGHT, "WHERE d.deptype IN ('n', 'a', 'i')\n", "WHERE FALSE\n"),
            Change(ROLLBACK, "    DROP COLUMN client_id;", "    DROP COLUMN client_id CASCADE;"),
        ),
    ],
    "rollback-shows-what-is-lost": [
        (
            "any words will do",
            "assert",
            Change(
                "phase_1/console.py",
                'return self._answer(f"Type {words} to go on: ").strip() == words',
                'return bool(self._answer(f"Type {words} to go on: "))',
            ),
        ),
        (
            "the memberships are not counted",
            "user_organizations",
            Change(PLAN, '    if "create_user_organizations" in found.standing:\n', "    if False:\n"),
        ),
        (
            "other clients' rows go without a word",
            "assert",
            Change(RUNNER, "    if others and not options.force:\n", "    if False:\n"),
        ),
    ],
    "model-agrees": [
        (
            "the rollback forgets a step",
            "assert|idx_|phase_1",
            Change(ROLLBACK, 'DROP POLICY IF EXISTS phase_1_client_pinned_update ON public.:"table";\n', ""),
        ),
    ],
    "breaking-changes-are-known": [
        (
            "what is written down does not break",
            "null: client_id|DID NOT RAISE",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nALTER TABLE public.:"table" ALTER COLUMN client_id DROP NOT NULL;'),
        ),
        (
            "something else breaks",
            "assert|Error|duplicate|policy",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nALTER TABLE public.:"table" RENAME TO renamed_:table;'),
        ),
    ],
    "asks-before-changing": [
        (
            "nobody is asked",
            "assert",
            Change(RUNNER, "if not options.force and not _confirmed(options, console):", "if False:"),
        ),
        (
            "a terminal that goes away is a yes",
            "test_terminal_that_goes_away: .",
            Change(
                "phase_1/console.py",
                '        except EOFError:\n            return ""',
                '        except EOFError:\n            return "yes"',
            ),
        ),
    ],
    "exit-codes": [
        (
            "violations exit with 0",
            "assert",
            Change(RUNNER, "    return VIOLATIONS if made.violations else DONE\n", "    return DONE\n"),
        ),
        (
            "without a terminal it exits with 0",
            "assert",
            Change(
                "phase_1/problems.py",
                '    """There is nobody to ask."""\n\n    exit_code = USAGE',
                '    """There is nobody to ask."""\n\n    exit_code = 0',
            ),
        ),
    ],
    "secrets-stay-secret": [
        (
            "the password is printed",
            "password|assert",
            Change("phase_1/connection.py", 'text = text.replace(secret, "********")', "text = str(text)"),
        ),
        (
            "a password is in the log",
            "assert",
            Change(APPLY, "hidden(details, lambda text: redact(text, self.dsn))", "details"),
        ),
    ],
}

CONTROLS = tuple(_controls())


def _judge(control: Control, outcome: Outcome) -> str:
    """What speaks against a control; nothing if its claim fails as it should."""
    if outcome.outcome != FAILED:
        return f"{outcome.outcome}: {outcome.message}" if outcome.message else "no test of the claim notices"
    if outcome.phase != "call":
        return f"the {outcome.phase} of {outcome.test} fails, not the test"
    if control.claim not in outcome.claims:
        return f"{outcome.test} does not certify the claim"
    if not re.search(control.says, f"{outcome.test}\n{outcome.message}", re.DOTALL):
        return f"the message does not name it: {control.says}"
    return ""


def main(arguments: list[str]) -> int:
    """Runs the controls of these claims, or all; returns 0 if every claim has one and every one is good."""
    known = [claim.id for claim in CLAIMS]
    unknown = [each for each in arguments if each not in known]
    if unknown:
        print(f"no such claim: {', '.join(unknown)}", file=sys.stderr)
        return 2
    began = time.monotonic()
    asked = [control for control in CONTROLS if not arguments or control.claim in arguments]
    jobs = {
        Job(str(number), control.changes, _PATHS, claim=control.claim, first=control.first): control
        for number, control in enumerate(asked)
    }
    rows = []
    for job, outcome in run_all(jobs):
        control = jobs[job]
        problem = _judge(control, outcome)
        rows.append((control, outcome, problem))
        print(f"{outcome.seconds:6.1f} s  {control.claim}: {control.sabotage}: {problem or outcome.test}", flush=True)
        if problem and outcome.message:
            print("          " + outcome.message[:2_000].replace("\n", "\n          "), flush=True)
    tests = tuple(sorted({outcome.test for _, outcome, problem in rows if not problem}))
    against = [f"{control.claim}: {control.sabotage}: {problem}" for control, _, problem in rows if problem]
    missing = [each for each in known if each not in {control.claim for control in CONTROLS}]
    against += [f"{each}: has no control" for each in missing]
    for _, outcome in run_all([Job("the project as it is", (), _PATHS, tests=tests)] if tests else []):
        if outcome.outcome != PASSED or outcome.ran != len(tests):
            against.append(f"the project as it is: {outcome.test}: {outcome.outcome}, {outcome.message}")
    seconds = round(time.monotonic() - began, 1)
    if not arguments:
        write_report("controls", {"seconds": seconds, "problems": against, "controls": [_row(*row) for row in rows]})
    print("\n".join(against))
    claims = len({control.claim for control in asked})
    print(f"{len(rows)} controls of {claims} claims, {len(against)} problems, {seconds} s")
    return 1 if against else 0


def _row(control: Control, outcome: Outcome, problem: str) -> dict[str, Any]:
    return {
        "claim": control.claim,
        "sabotage": control.sabotage,
        "changes": [vars(change) for change in control.changes],
        "test": outcome.test,
        "message": outcome.message[:2_000],
        "seconds": outcome.seconds,
        "problem": problem,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
