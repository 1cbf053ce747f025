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
QUERIES = "sql/queries.sql"
INVENTORY, FOUND, PLAN, APPLY = "phase_1/inventory.py", "phase_1/found.py", "phase_1/plan.py", "phase_1/apply.py"
RUNNER, REHEARSAL = "migrate.py", "tests/support/rehearsal.py"
HANGS = "sql/trust/nothing_foreign_hangs_on_tables.sql"

_PATHS = (
    "tests/certification",
    "tests/tools/test_command_line.py",
    "tests/tools/test_secrets.py",
    "tests/tools/test_staging_trust.py",
)
_MIGRATED = '    status = migrate.main(["--dsn", database.owner_dsn, "--force"])\n'


@dataclass(frozen=True)
class Control:
    """A change that breaks a claim; ``says`` is a pattern of that part of the failure's message that names what broke.

    The tests of the claim whose ids contain ``first`` are run first.
    """

    claim: str
    sabotage: str
    changes: tuple[Change, ...]
    says: str
    first: str


def after(statements: str) -> Change:
    """The migrated databases of the tests, with something done to them that no change of the SQL would do."""
    done = f"    database.execute({statements!r})\n"
    return Change("tests/plugins/database.py", _MIGRATED, _MIGRATED + done)


def _controls() -> Iterator[Control]:
    for claim, controls in _CONTROLS.items():
        for sabotage, said, *changes in controls:
            # "test: pattern", where the test is a part of its id.
            test, _, says = said.partition(": ")
            yield Control(claim, sabotage, tuple(changes), says, test)


_ADD = "ADD COLUMN client_id uuid NOT NULL DEFAULT :'default_organization';"
_ANALYZE = 'ANALYZE public.:"table" (client_id);'
_MEMBERSHIPS = "SELECT id, client_id FROM public.users\nWHERE :batch\nON CONFLICT"
_LOG_GRANT = "GRANT SELECT ON TABLE public.migration_log TO :service_role;"
_CREATE_INDEX = 'CREATE INDEX :concurrently :"index" ON public.:"table" (:columns) :where;'

_CONTROLS: dict[str, list[tuple[Any, ...]]] = {
    "organizations-shape": [
        (
            "a column comes before another",
            r"test_organizations_has: organizations.*?At index 1 diff: \('slug'",
            Change(
                SCHEMA,
                "    name text NOT NULL UNIQUE,\n    slug text NOT NULL UNIQUE,",
                "    slug text NOT NULL UNIQUE,\n    name text NOT NULL UNIQUE,",
            ),
        ),
        (
            "a key is gone",
            r"test_organizations_has: organizations.*?one more item: 'UNIQUE \(slug\)'",
            after("ALTER TABLE public.organizations DROP CONSTRAINT organizations_slug_key"),
        ),
        (
            "a default is gone",
            r"test_organizations_has: organizations.*?\('settings', 'jsonb', False, None\) !=",
            after("ALTER TABLE public.organizations ALTER settings DROP DEFAULT"),
        ),
        (
            "a column may be NULL",
            r"test_organizations_has: organizations.*?\('name', 'text', False, None\) !=",
            after("ALTER TABLE public.organizations ALTER name DROP NOT NULL"),
        ),
    ],
    "memberships-shape": [
        (
            "a user is a member twice",
            r"test_memberships_have: user_organizations.*?one more item: 'UNIQUE \(user_id, organization_id\)'",
            after(
                "ALTER TABLE public.user_organizations DROP CONSTRAINT user_organizations_user_id_organization_id_key"
            ),
        ),
        (
            "a membership outlives its user",
            r"test_memberships_have: user_organizations.*?REFERENCES public.users\(id\)' != '.*?ON DELETE CASCADE'",
            after(
                "ALTER TABLE public.user_organizations DROP CONSTRAINT user_organizations_user_id_fkey,"
                " ADD CONSTRAINT user_organizations_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users (id)"
            ),
        ),
    ],
    "migration-log-shape": [
        (
            "the log takes any state",
            r"test_migration_log_has: migration_log.*?\['PRIMARY KEY '\] == \['CHECK ', 'PRIMARY KEY '\]",
            after("ALTER TABLE public.migration_log DROP CONSTRAINT migration_log_status_check"),
        ),
        (
            "a time may be set by hand",
            r"test_migration_log_has: migration_log.*?\('created_at', 'timestamp with time zone', True, 'now\(\)'\) !=",
            after("ALTER TABLE public.migration_log ALTER created_at SET DEFAULT now()"),
        ),
        (
            "the entry of the migration is missing",
            r"test_documented_queries: != \('migrate', 'completed'\)",
            Change(PLAN, "        statements.append(self.note(operation, summary(self._found)))\n", ""),
        ),
    ],
    "client-id-column": [
        (
            "the default is gone",
            "test_client_id_is_required: uploads.*?At index 2 diff: None !=",
            after("ALTER TABLE public.uploads ALTER client_id DROP DEFAULT"),
        ),
        (
            "the foreign key was never validated",
            r"test_client_id_is_required: products_client_id_fkey.*?\{'validated': False\} !=",
            after(
                "ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey, ADD CONSTRAINT"
                " products_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.organizations (id)"
                " ON DELETE RESTRICT NOT VALID"
            ),
        ),
        (
            "rows go with their organization",
            r"test_client_id_is_required: email_logs_client_id_fkey.*?ON DELETE CASCADE'\} !=",
            after(
                "ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_client_id_fkey, ADD CONSTRAINT"
                " email_logs_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.organizations (id)"
                " ON DELETE CASCADE"
            ),
        ),
        (
            "a row may be nobody's",
            "test_client_id_is_required: users.*?At index 1 diff: None != 'NOT NULL'",
            after("ALTER TABLE public.users ALTER client_id DROP NOT NULL"),
        ),
    ],
    "old-application-works": [
        (
            "the default is gone",
            r'test_rows_of_the_old_application: null value in column "client_id" of relation "uploads"',
            after("ALTER TABLE public.uploads ALTER client_id DROP DEFAULT"),
        ),
        (
            "the web API may not write what it wrote",
            "test_web_api: permission denied for table sellout_entries2",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nREVOKE INSERT ON public.:"table" FROM :revoked_roles;'),
        ),
    ],
    "existing-users-are-members": [
        (
            "a user is left out",
            r"test_every_user: user_organizations.*?'member', True, True, 4, 4\) !=",
            Change(
                SCHEMA,
                _MEMBERSHIPS,
                _MEMBERSHIPS.replace(":batch", ":batch AND id <> (SELECT min(id::text)::uuid FROM public.users)"),
            ),
        ),
        (
            "what is read is older than the locks",
            "signs_up: users without a membership.*?late@example.com",
            Change(PLAN, "ISOLATION LEVEL READ COMMITTED, READ WRITE", "READ WRITE"),
        ),
        (
            "the memberships are not active",
            r"test_every_user: user_organizations.*?'member', False, True, 5, 5\) !=",
            after("UPDATE public.user_organizations SET is_active = FALSE"),
        ),
    ],
    "indexes-present": [
        (
            "the columns of an index are swapped",
            r"test_every_promised_index: idx_sellout_entries2_client_year_month ON [^}]*\(client_id, month, [^}]*\} !=",
            after(
                "DROP INDEX public.idx_sellout_entries2_client_year_month;"
                "CREATE INDEX idx_sellout_entries2_client_year_month"
                " ON public.sellout_entries2 (client_id, month, year, product_ean)"
            ),
        ),
        (
            "an index is left out",
            r"test_every_promised_index: 1 more item:\n *\{'index public.idx_sellout_entries2_client_reseller'",
            Change(INVENTORY, '            Index("sellout_entries2", ("reseller",), also=("year", "month")),\n', ""),
        ),
        (
            "an index ends before what is summed up",
            r"test_every_promised_index: idx_sellout_entries2_client_year_month ON [^}]* year, month\)'\} !=",
            Change(INVENTORY, '("year", "month"), also=("product_ean",)', '("year", "month")'),
        ),
        (
            "an index is dropped",
            r"test_every_promised_index: Right contains 1 more item:\n *\{'index public.idx_uploads_client_user_id'",
            after("DROP INDEX public.idx_uploads_client_user_id"),
        ),
        (
            "an index is invalid",
            "test_every_promised_index: indexes that are not valid.*?'index public.idx_products_client_ean'",
            after(
                "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'public.idx_products_client_ean'::regclass"
            ),
        ),
        (
            "an index has its client last",
            r"test_every_promised_index: idx_products_client_ean ON [^}]*\(ean, client_id\)'\} !=",
            after(
                "DROP INDEX public.idx_products_client_ean;"
                "CREATE INDEX idx_products_client_ean ON public.products (ean, client_id)"
            ),
        ),
        (
            "a foreign key has no index",
            "test_every_foreign_key: foreign keys without an index.*?'user_organizations_organization_id_fkey'",
            Change(SCHEMA, "CREATE INDEX ON public.user_organizations (organization_id);\n", ""),
        ),
    ],
    "index-serves-its-query": [
        (
            "an index is dropped",
            "test_query_is_served_by: uploads_of_a_user is not served by idx_uploads_client_user_id",
            after("DROP INDEX public.idx_uploads_client_user_id"),
        ),
        (
            "a query names the index of another",
            "test_query_is_served_by: uploads_of_a_user is not served by idx_uploads_client_status",
            Change(QUERIES, "-- index: idx_uploads_client_user_id", "-- index: idx_uploads_client_status"),
        ),
        (
            "a query is not of one client",
            "test_query_asks_for: product_by_ean.*?client_id = :'client_id'",
            Change(
                QUERIES,
                "SELECT * FROM public.products\nWHERE client_id = :'client_id' AND ean = :'ean';",
                "SELECT * FROM public.products\nWHERE ean = :'ean';",
            ),
        ),
    ],
    "statistics-present": [
        (
            "nothing is analyzed",
            r"test_planner: rows that the planner expects.*?sellout_entries2 \| 2 +\| 300",
            Change(SCHEMA, _ANALYZE, "SELECT 1;"),
        ),
        (
            "another column is analyzed",
            r"test_planner: rows that the planner expects.*?users +\| 1 +\| 5",
            Change(SCHEMA, _ANALYZE, 'ANALYZE public.:"table" (id);'),
        ),
    ],
    "time-columns-resolved": [
        (
            "a known name is not known",
            "test_time_column_is_found: uploads.*?None == 'sent_at'",
            Change(INVENTORY, ', "logged_at", "sent_at")', ', "logged_at")'),
        ),
        (
            "what is said on the command line is not heard",
            r"test_time_column_is_found: failed at create_index\(idx_uploads_client_created_at\): column \S+ does not",
            Change(FOUND, "time = self.table_of(index).time_column or TIME\n", "time = TIME\n"),
        ),
    ],
    "existing-client-id-kept": [
        (
            "values that were there are overwritten",
            "test_client_id_that_was_there: values of email_logs.client_id after the migration",
            Change(SCHEMA, "WHERE client_id IS NULL AND :batch;", "WHERE :batch;"),
        ),
        (
            "the rollback leaves the values",
            "test_client_id_that_was_there: values of email_logs.client_id after the rollback",
            Change(ROLLBACK, "SET client_id = NULL\n", "SET client_id = client_id\n"),
        ),
    ],
    "invalid-index-rebuilt": [
        (
            "an invalid index is taken for a good one",
            r"test_invalid_index_of_ours: error: [^\n]*idx_uploads_client_user_id[^\n]*",
            Change(
                SCHEMA,
                "quote_ident(:'index')) AND indisvalid AND indisready)\nCREATE INDEX",
                "quote_ident(:'index')))\nCREATE INDEX",
            ),
            Change(SCHEMA, "AND NOT (indisvalid AND indisready))\nDROP INDEX", "AND FALSE)\nDROP INDEX"),
        ),
        (
            "another index of that name is taken for ours",
            "index_name_is_free, unique: index_name_is_free finds nothing: unique",
            Change(
                "sql/preflight/index_name_is_free.sql",
                "    OR am.amname <> 'btree' OR i.indisunique\n",
                "    OR am.amname <> 'btree'\n",
            ),
        ),
    ],
    "preflight-refuses": [
        (
            "a check finds nothing",
            "role_owns_the_table: role_owns_the_table finds nothing: of another role",
            Change(
                "sql/preflight/role_owns_the_table.sql", "WHERE NOT pg_has_role(c.relowner, 'USAGE');", "WHERE FALSE;"
            ),
        ),
        (
            "a check refuses the near miss",
            "attribute_numbers_are_left: 'attribute_numbers_are_left', level='error', object='public.email_logs'",
            Change(
                "sql/preflight/attribute_numbers_are_left.sql",
                "WHERE c.relnatts >= 1600\n",
                "WHERE c.relnatts >= 1590\n",
            ),
        ),
        (
            "an error does not refuse",
            "test_online_run_refuses: error: prepared transaction .*?assert 0 == 3",
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
            "publications_carry_no_tenant_table: 'publications_carry_no_tenant_table', [^)]* object='publication ours'",
            Change(
                "sql/preflight/publications_carry_no_tenant_table.sql",
                "to_jsonb(r) ->> 'prattrs' IS NOT NULL);",
                "to_jsonb(r) ->> 'prattrs' = 'none');",
            ),
        ),
        (
            "a warning is not given",
            "few_attribute_numbers_are_left: few_attribute_numbers_are_left finds nothing: hundred",
            Change(
                "sql/preflight/few_attribute_numbers_are_left.sql",
                "WHERE c.relnatts BETWEEN 1500 AND 1599;",
                "WHERE FALSE;",
            ),
        ),
    ],
    "no-superuser-needed": [
        (
            "a setting is for superusers only",
            r'test_owner_of_the_tables: permission denied to set parameter "log_statement"',
            Change(
                SCHEMA,
                "SET search_path = '';\nSET lock_timeout = :'concurrently_timeout';",
                "SET log_statement = 'none';\nSET search_path = '';\nSET lock_timeout = :'concurrently_timeout';",
            ),
        ),
    ],
    "nothing-foreign-runs": [
        (
            "nobody asks whose the names are",
            "organizations-is-a-view: names_are_of_ordinary_tables is silent: organizations is a view",
            Change("phase_1/trust.py", '    _require(connection, "names", values, at_stake)\n', ""),
        ),
        (
            "nobody asks whose the tables are",
            "an-index-of-uploads-for-the-rows: an index of uploads for the rows of a function: planted code ran",
            Change(FOUND, "    trust.require_tables(connection, list(_at_stake(found)))\n", ""),
        ),
        (
            "a view may have a name of ours",
            "organizations-is-a-view-owner: names_are_of_ordinary_tables is silent: organizations is a view",
            Change(
                "sql/trust/names_are_of_ordinary_tables.sql",
                "ELSE c.relkind <> 'r' OR c.relispartition OR",
                "ELSE c.relispartition OR",
            ),
        ),
        (
            "a member is taken for the owner",
            "organizations-has-a-trigger-owner: names_belong_to_who_owns_the_tables is silent: organizations has",
            Change(
                "sql/trust/names_belong_to_who_owns_the_tables.sql",
                ") AS its (kind, name, owner)\nWHERE NOT pg_has_role(its.owner, :owner_of_users, :rights);",
                ") AS its (kind, name, owner)\nWHERE NOT pg_has_role(its.owner, 'MEMBER');",
            ),
        ),
        (
            "a function of other arguments is not looked at",
            "a-function-for-texts: names_belong_to_who_owns_the_tables is silent: a function for texts",
            Change(
                "sql/trust/names_belong_to_who_owns_the_tables.sql",
                "JOIN pg_proc AS p ON p.proname = functions.name AND p.pronamespace",
                "JOIN pg_proc AS p ON p.proname = functions.name AND p.pronargs = 0 AND p.pronamespace",
            ),
        ),
        (
            "the search_path of the database is not looked at",
            "a-function-in-a-schema-of-the-path: names_are_not_taken_on_the_way is silent: a function in a schema of",
            Change(
                "sql/trust/names_are_not_taken_on_the_way.sql",
                "WHERE NOT pg_has_role(its.owner, :owner_of_users, :rights);",
                "WHERE FALSE;",
            ),
        ),
        (
            "the owner of a table is not looked at",
            "email_logs-belongs-to-a-role: tables_belong_to_who_owns_users is silent: email_logs belongs to a role",
            Change(
                "sql/trust/tables_belong_to_who_owns_users.sql",
                "WHERE NOT pg_has_role(c.relowner, :owner_of_users, :rights);",
                "WHERE FALSE;",
            ),
        ),
        *(
            (
                f"{what} are not looked at",
                f"{test}: nothing_foreign_hangs_on_tables is silent: .*{test.replace('-', ' ')}",
                Change(HANGS, old, new),
            )
            for what, test, old, new in (
                (
                    "checks",
                    "a-check-of-uploads",
                    "k.conrelid = t.oid AND k.contype IN ('c', 'x')",
                    "k.conrelid = t.oid AND k.contype = 'x'",
                ),
                (
                    "indexes",
                    "an-index-of-uploads-on-a-function",
                    "JOIN pg_index AS i ON i.indrelid = t.oid",
                    "JOIN pg_index AS i ON FALSE",
                ),
                (
                    "triggers",
                    "a-trigger-of-uploads-by-who",
                    "            OR (t.is_updated AND g.tgtype & 16 = 16 AND (g.tgattr",
                    "            OR (FALSE AND g.tgtype & 16 = 16 AND (g.tgattr",
                ),
                (
                    "rules",
                    "a-rule-of-uploads",
                    "WHERE t.is_ours OR (t.is_updated AND r.ev_type = '2')",
                    "WHERE t.is_ours",
                ),
                (
                    "generated columns",
                    "a-generated-column",
                    "WHERE t.is_ours OR a.attgenerated <> ''",
                    "WHERE t.is_ours",
                ),
                (
                    "defaults",
                    "has-a-default-with-a-function",
                    "WHERE t.is_ours OR a.attgenerated <> ''",
                    "WHERE a.attgenerated <> ''",
                ),
                ("statistics", "statistics-of-uploads", "ON s.stxrelid = t.oid", "ON FALSE"),
                (
                    "the functions of operators",
                    "an-operator-of-a-helper",
                    "'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_class'::regclass,",
                    "'pg_proc'::regclass, 'pg_type'::regclass, 'pg_class'::regclass,",
                ),
                (
                    "the tables of rules",
                    "a-rule-that-writes-to-a-table",
                    "'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_class'::regclass,",
                    "'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass,",
                ),
            )
        ),
        (
            "what the owner has made runs for a superuser",
            "test_function_of_the_owner: the owner's index: planted code ran",
            Change(
                "phase_1/trust.py",
                "WHERE rolsuper AND pg_catalog.pg_has_role",
                "WHERE FALSE AND pg_catalog.pg_has_role",
            ),
        ),
        (
            "the integrity function is called",
            "test_function_of_the_owner: the owner's function: planted code ran",
            Change(
                "phase_1/verify.py",
                'connection.execute(f"DO $function${block}$function$".encode())',
                "connection.execute(\"SELECT set_config('phase_1.integrity',\""
                ' " public.validate_client_data_integrity()::text, TRUE)")',
            ),
        ),
        (
            "nobody looks again before rows are written",
            "test_trigger_that_comes_between: between two steps: planted code ran",
            Change(PLAN, "            for name in _written(steps)\n", "            for name in ()\n"),
        ),
        (
            "event triggers are not looked at",
            "an-event-trigger-with-a-function: event_triggers_are_trusted is silent: an event trigger with a function",
            Change(
                "sql/preflight/event_triggers_are_trusted.sql",
                "AND NOT pg_has_role(p.proowner, :trusted_with_code, :rights);",
                "AND FALSE;",
            ),
        ),
        (
            "the owner's own functions are refused",
            "test_runs_of_everybody: nothing_foreign_hangs_on_tables",
            Change(
                "sql/trust/nothing_foreign_hangs_on_tables.sql",
                "pg_has_role(p.proowner, :trusted_with_code, :rights)",
                "pg_has_role(p.proowner, 10::oid, :rights)",
            ),
        ),
        (
            "a superuser restores staging's tables",
            "test_code_of_a_stranger: 'an index predicate of a table that refers'",
            Change(REHEARSAL, "failed += archive.restore(worker, rf", "failed += archive.restore(server, rf"),
        ),
        (
            "a function that reaches out stays granted",
            "test_code_of_the_owner: 'a default of public.products, by a function for superusers that was granted'",
            Change(REHEARSAL, "AND 0 NOT IN (SELECT", "AND FALSE AND 0 NOT IN (SELECT"),
        ),
        (
            "a function of staging is called unseen",
            "test_function_that_was_replaced: ran as staging_",
            Change("tests/staging/test_migrated.py", 'if found.object == f"public.{function}":', "if False:"),
        ),
    ],
    "organization-of-user": [
        (
            "a membership that is not active counts",
            "test_user_belongs: get_user_organization_id: membership in the client inactive",
            Change(
                SCHEMA,
                "WHERE m.user_id = u.id AND m.is_active AND o.is_active",
                "WHERE m.user_id = u.id AND o.is_active",
            ),
        ),
        (
            "the user's own client does not come first",
            "test_user_belongs: get_user_organization_id: client among memberships",
            Change(SCHEMA, "ORDER BY m.organization_id = u.client_id DESC, m.created_at", "ORDER BY m.created_at"),
        ),
        (
            "the youngest membership decides",
            "test_user_belongs: get_user_organization_id: client not among memberships: the oldest",
            Change(SCHEMA, "u.client_id DESC, m.created_at, m.id", "u.client_id DESC, m.created_at DESC, m.id"),
        ),
    ],
    "client-access": [
        (
            "a membership that is not active gives access",
            r"test_user_belongs: validate_client_access: membership in the client inactive.*?\{'acme': True\} !=",
            Change(SCHEMA, "AND m.organization_id = o.id AND m.is_active)\n", "AND m.organization_id = o.id)\n"),
        ),
        (
            "a user without a membership has access to every organization",
            r"test_user_belongs: validate_client_access: no membership: the client.*?\{'berg': True\} !=",
            Change(SCHEMA, "ELSE u.client_id = o.id\n", "ELSE TRUE\n"),
        ),
        (
            "a member of one organization has access to another",
            r"test_user_belongs: validate_client_access: client among memberships.*?\{'cord': True\} !=",
            Change(SCHEMA, "AND m.organization_id = o.id AND m.is_active)\n", "AND m.is_active)\n"),
        ),
        (
            "an organization that is not active gives access",
            r"test_user_belongs: validate_client_access: client inactive.*?\{'acme': True\} !=",
            Change(
                SCHEMA,
                "WHERE o.id = validate_client_access.client_id AND o.is_active\n",
                "WHERE o.id = validate_client_access.client_id\n",
            ),
        ),
        (
            "NULL is answered with access",
            r"test_functions_deny: validate_client_access.*?None\): True\} !=",
            Change(
                SCHEMA,
                "#variable_conflict use_column\nBEGIN\n    RETURN EXISTS (",
                "#variable_conflict use_column\nBEGIN\n    RETURN validate_client_access.client_id IS NULL OR EXISTS (",
            ),
        ),
        (
            "the answer is NULL",
            r"test_user_belongs: validate_client_access: client among memberships.*?\{'cord': None\} !=",
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
            "test_integrity_counts: validate_client_data_integrity: a sale goes to another client than its upload",
            Change(SCHEMA, "'WHERE c.client_id IS DISTINCT FROM p.client_id'", "'WHERE FALSE'"),
        ),
        (
            "a row without a client is not counted",
            "test_integrity_counts: validate_client_data_integrity: two mails lose their client",
            Change(SCHEMA, "FROM public.%I WHERE client_id IS NULL'", "FROM public.%I WHERE FALSE'"),
        ),
        (
            "a client that does not exist is not noticed",
            "test_integrity_counts: validate_client_data_integrity: three products point nowhere",
            Change(SCHEMA, "'SELECT FROM public.organizations AS o WHERE o.id = t.client_id)'", "'SELECT)'"),
        ),
        (
            "violations pass",
            r"test_integrity_counts: validate_client_data_integrity: .*?\{'status': 'passed'\} !=",
            Change(SCHEMA, "CASE WHEN violations = 0 THEN 'passed'", "CASE WHEN violations >= 0 THEN 'passed'"),
        ),
        (
            "a function made for fewer tables is taken for done",
            "test_integrity_looks_at: public.sellout_entries2: is not looked at by validate_client_data_integrity",
            Change(
                SCHEMA, "pg_catalog.quote_literal(wanted.name)) = 0)", "pg_catalog.quote_literal(wanted.name)) < 0)"
            ),
        ),
    ],
    "functions-are-hardened": [
        (
            "the search_path is the caller's",
            r"test_functions_are_stable: \('validate_client_access\(uuid,uuid\)', 's', 's', True, None, [^)]*\) !=",
            after("ALTER FUNCTION public.validate_client_access(uuid, uuid) RESET search_path"),
        ),
        (
            "PUBLIC may execute a function",
            r"test_functions_are_stable: 'get_user_organization_id\(uuid\)', 's', 's', True, [^)]*'PUBLIC'",
            after("GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO PUBLIC"),
        ),
        (
            "a function is VOLATILE",
            r"test_functions_are_stable: \('get_user_organization_id\(uuid\)', 'v', [^)]*\) !=",
            after("ALTER FUNCTION public.get_user_organization_id(uuid) VOLATILE"),
        ),
        (
            "a function runs with its caller's rights",
            r"test_functions_are_stable: \('validate_client_access\(uuid,uuid\)', 's', 's', False, [^)]*\) !=",
            after("ALTER FUNCTION public.validate_client_access(uuid, uuid) SECURITY INVOKER"),
        ),
        (
            "a check does not see every row, and passes",
            r"test_functions_are_stable: \('validate_client_data_integrity\(\)', [^)]*\['search_path=..'\], [^)]*\) !=",
            after("ALTER FUNCTION public.validate_client_data_integrity() RESET row_security"),
        ),
    ],
    "access-matrix": [
        (
            "anon may read the clients",
            r"test_each_role: \{'organizations': \{'anon': \{'SELECT'\}",
            after("GRANT SELECT ON public.organizations TO anon"),
        ),
        (
            "anon may read a column",
            r"test_each_role: \{'organizations': \{'anon': \{'SELECT'\}",
            after("GRANT SELECT (name) ON public.organizations TO anon"),
        ),
        (
            "service_role may not read the log",
            r"test_each_role: \{'migration_log': \{[^}]*'service_role': set\(\)",
            Change(SCHEMA, _LOG_GRANT + "\n", ""),
        ),
        (
            "authenticated may draw numbers of the log",
            r"test_each_role: \{'migration_log_id_seq': \{'anon': set\(\), 'authenticated': \{'USAGE'\}",
            after("GRANT USAGE ON SEQUENCE public.migration_log_id_seq TO authenticated"),
        ),
    ],
    "attacks-fail": [
        (
            "anon may empty everything",
            r"test_attacks: \{'empty everything': -1\} !=",
            after("GRANT TRUNCATE ON public.organizations, public.user_organizations TO anon"),
        ),
        (
            "a new table has no row security",
            r"test_row_security_holds: \{'insert into user_organizations': 1\} !=",
            after("ALTER TABLE public.user_organizations DISABLE ROW LEVEL SECURITY"),
        ),
        (
            "a policy is gone",
            r"test_row_security_holds: \{'read organizations': 2\} !=",
            after(
                "DROP POLICY phase_1_denied ON public.organizations;"
                " CREATE POLICY p ON public.organizations USING (TRUE)"
            ),
        ),
    ],
    "writes-pinned": [
        (
            "a row may be put into another client",
            r"test_rows_of_another_client: \{'uploads: insert': 1\} !=",
            after("DROP POLICY phase_1_client_pinned ON public.uploads"),
        ),
        (
            "a row may be taken to another client",
            r"test_rows_of_another_client: \{'products: steal': 1\} !=",
            after("DROP POLICY phase_1_client_pinned_update ON public.products"),
        ),
        (
            "a row of another client may be deleted",
            r"test_rows_of_another_client: \{'email_logs: delete': 1\} !=",
            after("DROP POLICY phase_1_client_pinned_delete ON public.email_logs"),
        ),
        (
            "a policy of another table stands for the pins",
            r"test_pins_stay_away: writes_are_pinned.*?\[\] == \['public.products'",
            Change(
                "sql/verify/writes_are_pinned.sql",
                "AND format('%s %s %s', found.name, wanted.command, rolname) <> ALL (:isolated)",
                "AND :isolated = '{}'",
            ),
        ),
    ],
    "nothing-else-granted": [
        (
            "a role may read more than before",
            r"test_access_to_what_was_there: \{'relation users': [^}]*anon=r/",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nGRANT SELECT ON public.:"table" TO :revoked_roles;'),
        ),
        (
            "row security is forced where it was not",
            r"test_access_to_what_was_there: \{'relation users': [^}]*'forced': True",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nALTER TABLE public.:"table" FORCE ROW LEVEL SECURITY;'),
        ),
    ],
    "verify-finds-violations": [
        (
            "a check finds nothing",
            "statistics_are_there: statistics_are_there finds nothing: gone",
            Change("sql/verify/statistics_are_there.sql", "WHERE c.reltuples > 0\n", "WHERE FALSE\n"),
        ),
        (
            "a check finds what is none",
            "foreign_keys_have_an_index: 'foreign_keys_have_an_index', [^)]*'constraint users_client_id_fkey on",
            Change(
                "sql/verify/foreign_keys_have_an_index.sql",
                "AND i.indpred IS NULL AND i.indkey[0] = c.conkey[1]);",
                "AND FALSE);",
            ),
        ),
    ],
    "generated-rows-survive": [
        (
            "a row is lost on the way back",
            r"test_rows_of_any_kind: Right contains one more item: Stored\(table='email_logs'",
            Change(
                ROLLBACK,
                "    DROP COLUMN client_id;",
                "    DROP COLUMN client_id;\nDELETE FROM public.email_logs;",
            ),
        ),
        (
            "a user is no member",
            r"test_rows_of_any_kind: user_organizations.*?\[\] == \[",
            Change(SCHEMA, _MEMBERSHIPS, _MEMBERSHIPS.replace(":batch", ":batch AND FALSE")),
        ),
    ],
    "generated-schemas-survive": [
        (
            "a difference is not refused",
            r"test_schema_with_every: Extra items in the right set:\n +'client_id_is_a_plain_uuid'",
            Change(
                "sql/preflight/client_id_is_a_plain_uuid.sql",
                "WHERE a.atttypid <> 'uuid'::regtype OR a.attgenerated <> ''",
                "WHERE a.attgenerated <> ''",
            ),
        ),
    ],
    "rows-untouched": [
        (
            "every row is written again",
            r"test_rows_stay: tables with rows that were written again.*?'users'",
            Change(SCHEMA, _ADD, _ADD + '\nUPDATE public.:"table" SET client_id = client_id;'),
        ),
        (
            "a trigger of the application fires",
            r"test_no_trigger: triggers that fired.*?\('DELETE', 'users'\)",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nDELETE FROM public.:"table" WHERE FALSE;'),
        ),
    ],
    "rerun-does-nothing": [
        (
            "a step is never done",
            r"test_second_run_does_nothing: 'Nothing to do: [^']*' in .*?analyze_table \S+ 7",
            Change(
                SCHEMA, "-- needs: create_migration_log\n-- done: the log\nANALYZE", "-- done: SELECT FALSE\nANALYZE"
            ),
        ),
        (
            "a membership that was taken away comes back",
            r"test_second_run_leaves: \{'user_organizations': \(\d+, [^)]*\)\} !=",
            Change(SCHEMA, "-- needs: create_migration_log\n-- done: the log\nINSERT", "-- done: SELECT FALSE\nINSERT"),
        ),
        (
            "a default that was dropped comes back",
            "test_default_that_a_later_phase_drops: set_client_id_default",
            Change(SCHEMA, "-- done: SELECT ARRAY['add_client_id('", "-- done: SELECT ARRAY['nothing('"),
        ),
    ],
    "dry-run-is-what-runs": [
        (
            "a statement runs that was not shown",
            "test_dry_run_is_to_the_byte: not in the dry run, or out of order: ALTER TABLE public.users",
            Change(
                APPLY,
                "cursor = session.execute(statement.sql)",
                'cursor = session.execute(statement.sql.replace(" ON DELETE RESTRICT", "  ON DELETE RESTRICT"))',
            ),
        ),
        (
            "a statement is shown that does not run",
            "test_dry_run_is_to_the_byte: in the dry run, and not sent: SELECT 1;",
            Change(PLAN, "\\\\set ON_ERROR_STOP on", "SELECT 1;"),
        ),
        (
            "a name ends the comment that it is in",
            r"test_script_has_no_line: Left contains \d+ more items, first extra item: '-- \"",
            Change(PLAN, 'f"-- {printable(step)}"', 'f"-- {step}"'),
        ),
    ],
    "dry-run-only-reads": [
        (
            "the dry run asks for the lock of a run",
            "test_dry_run_changes: another runner is at work: process",
            Change(
                RUNNER,
                "        if options.dry_run:\n            return _stages(sessions, options, console, certificate)\n"
                "        with",
                "        with",
            ),
        ),
        (
            "the dry run creates something",
            "test_dry_run_changes: Left contains one more item: 'CREATE TABLE IF NOT EXISTS public.seen",
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
            r"test_online_migration_ends: table public.organizations: grants is [^\n]*service_role",
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
            "test_failure_at_any_statement: what is committed before the end stays: .*?create_organizations",
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
            r"test_failure_at_any_statement: 'started', None, None\) != \('add_client_id\(users\)', 'failed'",
            Change(APPLY, 'failed.label == operation or self._sessions.log(failed.label, "failed", details)', "True"),
        ),
        (
            "the entry of the run is missing",
            r"test_failure_at_any_statement: 'started', None, None\) != \('migrate', 'failed'",
            Change(APPLY, 'self._sessions.log(operation, "failed", {**details, "step": failed.label})', "True"),
        ),
        (
            "the reason is missing",
            r"test_error_of_a_statement: \('add_client_id\(uploads\)', '53100', None, None\) !=",
            Change(
                APPLY,
                'details = {"error": failed.stored, "sqlstate": failed.sqlstate, "outcome"',
                'details = {"sqlstate": failed.sqlstate, "outcome"',
            ),
        ),
    ],
    "online-resumes": [
        (
            "an interrupted build leaves an invalid index",
            r'test_index_build: failed at create_index\(idx_users_client_created_at\): relation "\w+" already exists',
            Change(
                PLAN,
                '        if step.section.name != "create_index":\n            return None\n        section',
                "        return None\n        section",
            ),
        ),
        (
            "a step that was done runs again",
            r'test_rows_written_between: failed at create_organizations: relation "organizations" already exists',
            Change(SCHEMA, "-- done: SELECT to_regclass('public.organizations') IS NOT NULL", "-- done: SELECT FALSE"),
        ),
    ],
    "locks-are-as-stated": [
        (
            "a step takes a stronger lock than its header says",
            r"test_online_step: analyze_table\(users\).*?\{'users': 'SHARE'\} !=",
            Change(SCHEMA, _ANALYZE, 'LOCK TABLE public.:"table" IN SHARE MODE;\n' + _ANALYZE),
        ),
        (
            "a header says less than the step takes",
            r"test_online_step: validate_client_id_foreign_key\(users\).*?\{'users': 'SHARE UPDATE \w+'\} == \{\}",
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
            r"test_online_step: \(\['add_client_id\(users\)'\], 'users'\).*?assert 5 == 0",
            Change(SCHEMA, _ADD, _ADD + '\nSELECT count(client_id) FROM public.:"table";'),
        ),
    ],
    "load-sees-no-failure": [
        (
            "a statement of the application fails",
            r"alone: '\w+: (OperationalError|AdminShutdown|57P01)': \d+",
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
            r"alone: \['email_logs \w{8}-",
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
            r"alone: (ALTER TABLE public.users|SELECT pg_catalog.pg_sleep)",
            Change(SCHEMA, _ADD, _ADD + "\nSELECT pg_catalog.pg_sleep(2) WHERE :'table' = 'users';"),
        ),
    ],
    "lock-waits-give-way": [
        (
            "a lock is waited for as long as it takes",
            r"test_application_waits: the application waited behind the run for users.*?assert [\d.]+ <",
            Change(SCHEMA, "SET LOCAL lock_timeout = :'lock_timeout';", "SET LOCAL lock_timeout = '3s';"),
        ),
        (
            "who holds the lock is not named",
            r"test_online_run_stops_at: failed at add_client_id\(users\): .*?In the way: it was gone",
            Change(APPLY, "self.seen = blockers(self._control, self._pid) or self.seen", "self.seen = self.seen"),
        ),
        (
            "a deadlock is not tried again",
            "test_run_that_the_server_picks: failed at migrate: deadlock detected",
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
            "test_what_became_of_a_commit: got through' in 'failed at migrate: .*?Everything was rolled back",
            Change(
                APPLY,
                "return COMMITTED if _is_logged(control, noted.entry) else ROLLED_BACK",
                "return ROLLED_BACK",
            ),
        ),
        (
            "a commit under way is taken for a rollback",
            "test_verdict_waits: got through' in 'failed at migrate: .*?Everything was rolled back",
            Change(APPLY, "if _is_in_progress(control, noted.transaction):", "if False:"),
        ),
    ],
    "faults-are-survived": [
        (
            "what was undone is told as done",
            r"thaw-migrate-transactional: outcome='committed', step='[^']*'\), and it is not done",
            Change(
                APPLY,
                "verdict = ROLLED_BACK\n        dropped",
                "verdict = ROLLED_BACK if transaction.concurrent else COMMITTED\n        dropped",
            ),
        ),
    ],
    "partitioned-tables-too": [
        (
            "an index of a partition is not attached",
            r"test_partitioned_table_is: error: public.idx_sellout_entries2_\w+: [^\n]*",
            Change(SCHEMA, 'ALTER INDEX public.:"whole_index" ATTACH PARTITION public.:"index";', "SELECT 1;"),
        ),
        (
            "the table itself has no foreign key",
            r"test_partitioned_table_is: error: public.sellout_entries2.client_id: has no foreign key to organizations",
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
            "test_change_of_a_file: not said: 'changed since: sql/phase_1_rollback.sql'",
            Change("phase_1/certificate.py", "if any(told.values()):", "if False:"),
        ),
        (
            "a signature is not looked at",
            "test_tampering_with_the_signature: not said: 'is not signed with the trusted key'",
            Change("phase_1/certificate.py", "        opened.verify([key], 1)\n", ""),
        ),
        (
            "what lies beside migrate.py is imported",
            "test_code_that_is_planted: a library beside migrate.py was run",
            Change(
                RUNNER,
                "    sys.path[:] = [each for each in _first + sys.path if",
                "    _ = [each for each in sys.path if",
            ),
            Change(RUNNER, "    _first, sys.path[:] = sys.path[:1], sys.path[1:]\n", ""),
        ),
        (
            "Python loads the package as it loads any other one",
            "test_code_that_is_planted_is_not_run[a module compiled at the right time-python]: "
            "a module compiled at the right time was run",
            Change(
                RUNNER,
                'if "phase_1" not in sys.modules:\n    _load_what_is_hashed()\n',
                'if __name__ == "__main__":\n    sys.path.insert(0, _apart)\n',
            ),
        ),
        (
            "what could be imported instead is not refused",
            "test_code_that_is_planted: not said: 'does not cover rich/'",
            Change("phase_1/certificate.py", "    if others:\n", "    if False:\n"),
        ),
        (
            "the SQL is read when it is used",
            "test_file_that_changes: what was written meanwhile was run",
            Change("phase_1/scripts.py", "import READ\n", "import READ, ROOT\n"),
            Change("phase_1/scripts.py", "parse(READ[path], path)", "parse((ROOT / path).read_bytes(), path)"),
            Change(RUNNER, "    require_all()\n", ""),
        ),
    ],
    "schema-is-known": [
        (
            "any schema will do",
            "test_schema_that_was_not_certified: not said: nearest is the variant founding: index public.extra",
            Change("phase_1/certificate.py", "    if not lines:\n        return []\n", "    return []\n"),
        ),
    ],
    "lints-of-others-stay-quiet": [
        (
            "memberships of an organization have no index",
            "test_migration_adds_nothing: 'public.user_organizations: user_organizations_organization_id_fkey'",
            Change(SCHEMA, "CREATE INDEX ON public.user_organizations (organization_id);\n", ""),
        ),
        (
            "a new table has no row security",
            r"test_migration_adds_nothing: Extra items in the left set:\n +'public.organizations'",
            after("ALTER TABLE public.organizations DISABLE ROW LEVEL SECURITY"),
        ),
    ],
    "settings-do-not-leak": [
        (
            "a setting outlives its transaction",
            r"test_sessions_are_left: \{'statement_timeout': '0'\} == \{\}",
            Change(SCHEMA, "SET LOCAL statement_timeout = 0;", "SET statement_timeout = 0;"),
        ),
        (
            "a setting is not put back",
            r"test_sessions_are_left: \{'lock_timeout': '600000'\} == \{\}",
            Change(SCHEMA, "RESET lock_timeout;\n", ""),
        ),
        (
            "an operator that anybody may have made is run",
            r"test_run_ends_alike_whatever: \[\('app_owner'",
            Change("phase_1/connection.py", '    (12, "search_path", "\'\'"),\n', ""),
        ),
    ],
    "one-runner-at-a-time": [
        (
            "the second runner goes ahead",
            r"test_two_runners: two runners ended with \[\d, \d\]",
            Change(
                RUNNER,
                "        with sessions.alone():\n            return _stages",
                "        if True:\n            return _stages",
            ),
        ),
        (
            "the first runner is not named",
            r"test_second_runner_names: 'process \d+ ' in 'another session held the advisory lock",
            Change(APPLY, "    if row is None:\n        return (\n", "    if True:\n        return (\n"),
        ),
        (
            "a session that is no runner passes for one",
            r"how_to_end_it[under our name]: who is no runner: another runner is at work",
            Change(APPLY, "if has_rights is False:", "if False:"),
        ),
    ],
    "cost-is-foreseen": [
        (
            "the estimate is too low",
            r"test_estimate_recommends: 'seconds': 1\.\d+",
            Change(PLAN, "SECONDS_A_ROW = 3e-6", "SECONDS_A_ROW = 3e-7"),
        ),
        (
            "the online mode is not recommended",
            r"test_estimate_recommends: 'use --online' in .*?hold its locks for about 1\d\.\d s",
            Change(PLAN, "SECONDS_THAT_HURT = 3.0", "SECONDS_THAT_HURT = 30.0"),
        ),
        (
            "the disk is not foreseen",
            r"test_estimate_of_the_disk: idx_products_client_ean.*?assert [^\n]*",
            Change(PLAN, "INDEX_ENTRY_BYTES = 48", "INDEX_ENTRY_BYTES = 8"),
        ),
    ],
    "baseline-recorded": [
        (
            "the log has no baseline",
            "test_checks_and_baseline: missing in the entry of verify.*?'baseline'",
            Change(RUNNER, 'made.violations else "failed", made.as_dict())', 'made.violations else "failed", {})'),
        ),
        (
            "a query is missing from the baseline",
            r"test_checks_and_baseline: Extra items in the right set:\n +'latest_users'",
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
            r"test_schema_is_as_before: policy phase_1_client_pinned_update on table public.\w+ depends on",
            Change(ROLLBACK, 'DROP POLICY IF EXISTS phase_1_client_pinned_update ON public.:"table";\n', ""),
        ),
        (
            "a column comes back in another place",
            "test_schema_is_as_before: table public.email_logs: column subject: position [^'\n]*",
            Change(
                ROLLBACK,
                "DROP TABLE public.organizations;",
                "DROP TABLE public.organizations;\nALTER TABLE public.email_logs ADD moved text, DROP subject;"
                "\nALTER TABLE public.email_logs RENAME moved TO subject;",
            ),
        ),
        (
            "a trigger is left behind",
            "purged: CREATE TRIGGER left_behind BEFORE UPDATE ON public.users",
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
            r"test_rows_are_as_before: tables with other rows than before.*?\['email_logs'\]",
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
            "test_rollback_names: view public.mine.*?assert 1 == 3",
            Change(
                "sql/preflight/nothing_depends_on_what_is_dropped.sql",
                "WHERE NOT EXISTS (SELECT FROM ours",
                "WHERE d.deptype <> 'n' AND NOT EXISTS (SELECT FROM ours",
            ),
        ),
        (
            "what was built on top goes too",
            "test_rollback_names: view public.mine.*?assert 0 == 3",
            Change(
                "sql/preflight/nothing_depends_on_what_is_dropped.sql",
                "WHERE NOT EXISTS (SELECT FROM ours",
                "WHERE FALSE AND NOT EXISTS (SELECT FROM ours",
            ),
            Change(ROLLBACK, "    DROP COLUMN client_id;", "    DROP COLUMN client_id CASCADE;"),
        ),
    ],
    "rollback-shows-what-is-lost": [
        (
            "any words will do",
            r"test_rollback_asks: answered with 'y\\n'",
            Change(
                "phase_1/console.py",
                'return self._answer(f"Type {words} to go on: ").strip() == words',
                'return bool(self._answer(f"Type {words} to go on: "))',
            ),
        ),
        (
            "the memberships are not counted",
            r"test_rollback_counts: Right contains 2 more items:\n +\{\('acme', 'user_organizations'\): 2",
            Change(ROLLBACK, "-- loses: SELECT organization_id FROM public.user_organizations\n", ""),
        ),
        (
            "a slug is shown as it is",
            r"test_slug_adds_no_line: Left contains \d+ more items",
            Change("phase_1/console.py", "return printable(self.hide(text))", "return self.hide(text)"),
        ),
        (
            "other clients' rows go without a word",
            "several: 'belong to organizations other than' in 'not confirmed",
            Change(RUNNER, "    if others and not options.force:\n", "    if False:\n"),
        ),
        (
            "a client who comes after the last look goes",
            "test_what_comes: the late row is gone: exit code 0",
            Change(
                ROLLBACK, "WHERE client NOT BETWEEN :'default_organization' AND :'default_organization'", "WHERE FALSE"
            ),
        ),
    ],
    "model-agrees": [
        (
            "nobody becomes a member",
            r"whole_life: user_organizations.*?contains \d+ more items",
            Change(SCHEMA, _MEMBERSHIPS, _MEMBERSHIPS.replace(":batch", ":batch AND FALSE")),
        ),
    ],
    "breaking-changes-are-known": [
        (
            "what is written down does not break",
            "granted_one_by_one: select_star_with_columns_granted_one_by_one.*?'' == '42501'",
            Change(SCHEMA, _ANALYZE, _ANALYZE + '\nGRANT SELECT (client_id) ON public.:"table" TO PUBLIC;'),
        ),
        (
            "it breaks in another way",
            "copy_without_a_column_list: copy_without_a_column_list.*?'22P04' == '22P02'",
            Change("tests/application/statements.py", '"22P04"', '"22P02"'),
        ),
    ],
    "asks-before-changing": [
        (
            "nobody is asked",
            "test_nothing_is_changed: exit code 0 without a terminal: .*?Phase 1 is done",
            Change(RUNNER, "if not _confirmed(options, console):", "if False:"),
        ),
        (
            "a yes to something else is taken",
            "test_yes_to_a_plan: exit code 0",
            Change(RUNNER, "if _shown(plan, lost) != shown:", "if False:"),
        ),
        (
            "a terminal that goes away is a yes",
            "test_terminal_that_goes_away: the end of the input was a yes: .*?Phase 1 is done",
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
            "test_verify_before: the exit code of --verify.*?assert 0 == 4",
            Change(RUNNER, "    return VIOLATIONS if made.violations else DONE\n", "    return DONE\n"),
        ),
        (
            "without a terminal it exits with 0",
            "test_nothing_is_changed: exit code 0 without a terminal: .*?--force",
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
            r"test_error_of_the_server: 'not with \*{8}' in 'failed at create_user_organizations: not with s3cret",
            Change("phase_1/connection.py", 'text = text.replace(secret, "********")', "text = str(text)"),
        ),
        (
            "a password is in the log",
            "test_error_of_the_server: in migration_log: not with s3cret",
            Change(APPLY, "each_text(details, lambda text: printable(redact(text, self.dsn)))", "details"),
        ),
        (
            "another session's query is shown with its literals",
            "test_password_that_another_session_sets: PASSWORD \\.\\.\\.' in .*?PASSWORD 'an0ther'",
            Change("phase_1/shown.py", r"(''|\$(?![0-9])|--|/\*).*", "nothing"),
        ),
        (
            "a row is in the log",
            r"logged_without_them[detail]: Failing row contains \(",
            Change(APPLY, "if diagnostic.message_detail and not stored:", "if diagnostic.message_detail:"),
        ),
        (
            "a value that a message quotes is in the log",
            "logged_without_them[message]: invalid input syntax for type uuid",
            Change("phase_1/shown.py", "if not quotes_a_value(error):", "if True:"),
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
    if not _telling(control, outcome):
        return f"the message does not name it: {control.says}"
    return ""


def _telling(control: Control, outcome: Outcome) -> str:
    """The part of a message that names what broke, in at most 100 characters; nothing if it does not."""
    found = re.search(control.says, outcome.message, re.DOTALL)
    words = " ".join(found[0].split()) if found else ""
    return words if len(words) <= 100 else f"{words[:40]} … {words[-57:]}"


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
        Job(str(number), control.changes, _PATHS, claim=control.claim, first=(control.first,)): control
        for number, control in enumerate(asked)
    }
    rows = []
    for job, outcome in run_all(jobs):
        control = jobs[job]
        problem = _judge(control, outcome)
        rows.append((control, outcome, problem))
        print(f"{outcome.seconds:6.1f} s  {control.claim}: {control.sabotage}: {problem or outcome.test}", flush=True)
        said = outcome.message[:2_000] if problem else _telling(control, outcome)
        print("          " + said.replace("\n", "\n          "), flush=True)
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
        "says": _telling(control, outcome),
        "message": outcome.message[:2_000],
        "seconds": outcome.seconds,
        "problem": problem,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
