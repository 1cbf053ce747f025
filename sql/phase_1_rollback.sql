-- Phase 1: the way back, step by step.
--
-- A step undoes, for one table or index, what the log says that Phase 1 did there, and nothing else: what
-- was there before stays. No CASCADE: what was built on top is found before and stops the rollback.
-- The headers are those of phase_1_multitenant_schema.sql; `undoes` names the steps of that file, and `loses` is
-- a query of the clients that rows lose by the step, one for each row.

-- name: keep_to_the_default_organization
-- does: Fails where the step, or any step of the transaction, would lose what is not the default organization's and
--       has come since it was looked for. Left out with --force.
-- lock: none; those of the transaction are taken before
-- for: a look into the indexes; online, where these are gone, a scan of the table that stops no read and no write
-- each: transaction
DO $$
BEGIN
    -- as < and >, which an index knows; it does not know <>
    IF EXISTS (
        SELECT FROM (:lost) AS lost (client)
        WHERE client NOT BETWEEN :'default_organization' AND :'default_organization'
    ) THEN
        RAISE restrict_violation USING
            MESSAGE = 'since a moment ago, rows belong to organizations other than default-org',
            HINT = 'give --force to lose that';
    END IF;
END
$$;

-- name: drop_validate_client_data_integrity
-- does: Drops the function.
-- lock: none on a table
-- for: milliseconds
-- each: database
-- undoes: create_validate_client_data_integrity
-- done: SELECT to_regprocedure('public.validate_client_data_integrity()') IS NULL
DROP FUNCTION public.validate_client_data_integrity();

-- name: drop_validate_client_access
-- does: Drops the function.
-- lock: none on a table
-- for: milliseconds
-- each: database
-- undoes: create_validate_client_access
-- done: SELECT to_regprocedure('public.validate_client_access(uuid, uuid)') IS NULL
DROP FUNCTION public.validate_client_access(uuid, uuid);

-- name: drop_get_user_organization_id
-- does: Drops the function.
-- lock: none on a table
-- for: milliseconds
-- each: database
-- undoes: create_get_user_organization_id
-- done: SELECT to_regprocedure('public.get_user_organization_id(uuid)') IS NULL
DROP FUNCTION public.get_user_organization_id(uuid);

-- name: drop_partitioned_index
-- does: Drops the index of a partitioned table, and with it those of its partitions. PostgreSQL has no way to do
--       it CONCURRENTLY.
-- lock: ACCESS EXCLUSIVE on the table
-- for: milliseconds
-- each: index of a partitioned table
-- undoes: create_partitioned_index, create_index, attach_index
-- done: SELECT to_regclass('public.' || quote_ident(:'index')) IS NULL
DROP INDEX public.:"index";

-- name: drop_index
-- does: Drops an index; one of a partition goes with that of its table.
-- lock: ACCESS EXCLUSIVE on the table; online SHARE UPDATE EXCLUSIVE
-- for: milliseconds; online until every older transaction has ended
-- each: index
-- undoes: create_index
-- done: SELECT to_regclass('public.' || quote_ident(:'index')) IS NULL
--           OR EXISTS (
--               SELECT FROM pg_catalog.pg_inherits
--               WHERE inhrelid = to_regclass('public.' || quote_ident(:'index')))
DROP INDEX :concurrently public.:"index";

-- name: unpin_client
-- does: Drops the policies that kept the web API to the default organization.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table or partition
-- undoes: pin_client
-- done: SELECT NOT EXISTS (
--           SELECT FROM pg_catalog.pg_policy
--           WHERE polrelid = to_regclass('public.' || quote_ident(:'table'))
--             AND polname LIKE 'phase\_1\_client\_pinned%')
-- Phase 2, or somebody, may have dropped one of them already.
DROP POLICY IF EXISTS phase_1_client_pinned_delete ON public.:"table";
DROP POLICY IF EXISTS phase_1_client_pinned_update ON public.:"table";
DROP POLICY IF EXISTS phase_1_client_pinned ON public.:"table";

-- name: drop_user_organizations
-- does: Drops the memberships, with every membership in them.
-- lock: ACCESS EXCLUSIVE on user_organizations, users and organizations
-- for: milliseconds
-- each: database
-- undoes: create_user_organizations, add_memberships(users)
-- loses: SELECT organization_id FROM public.user_organizations
-- done: SELECT to_regclass('public.user_organizations') IS NULL
DROP TABLE public.user_organizations;

-- name: drop_client_id_check
-- does: Drops a check that an interrupted migration left behind.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table
-- undoes: check_client_id
-- done: SELECT NOT EXISTS (
--           SELECT FROM pg_catalog.pg_constraint
--           WHERE conrelid = to_regclass('public.' || quote_ident(:'table')) AND conname = 'phase_1_client_id_check')
ALTER TABLE public.:"table"
    DROP CONSTRAINT phase_1_client_id_check;

-- name: drop_partitioned_foreign_key
-- does: Unties the client_id of a partitioned table, and with it that of its partitions.
-- lock: ACCESS EXCLUSIVE on the table and on organizations
-- for: about a millisecond
-- each: partitioned table
-- undoes: add_partitioned_foreign_key, add_client_id_foreign_key, validate_client_id_foreign_key
-- done: SELECT NOT EXISTS (
--           SELECT FROM pg_catalog.pg_constraint
--           WHERE conrelid = to_regclass('public.' || quote_ident(:'table')) AND conname = :'foreign_key')
ALTER TABLE public.:"table"
    DROP CONSTRAINT :"foreign_key";

-- name: drop_client_id_foreign_key
-- does: Unties client_id from organizations; the key of a partition goes with that of its table.
-- lock: ACCESS EXCLUSIVE on the table and on organizations
-- for: about a millisecond
-- each: ordinary table or partition
-- undoes: add_client_id_foreign_key, validate_client_id_foreign_key
-- done: SELECT NOT EXISTS (
--           SELECT FROM pg_catalog.pg_constraint
--           WHERE conrelid = to_regclass('public.' || quote_ident(:'table'))
--             AND conname = :'foreign_key' AND conparentid = 0)
ALTER TABLE public.:"table"
    DROP CONSTRAINT :"foreign_key";

-- name: unrequire_client_id
-- does: Lets a client_id that was there before Phase 1 be NULL again.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table
-- undoes: require_client_id, validate_client_id
-- done: SELECT NOT attnotnull FROM pg_catalog.pg_attribute
--       WHERE attrelid = to_regclass('public.' || quote_ident(:'table')) AND attname = 'client_id'
ALTER TABLE public.:"table"
    ALTER COLUMN client_id DROP NOT NULL;

-- name: drop_client_id_default
-- does: Takes the default from a client_id that was there before Phase 1, and had none.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table
-- undoes: set_client_id_default
-- done: the log
ALTER TABLE public.:"table"
    ALTER COLUMN client_id DROP DEFAULT;

-- name: empty_client_id
-- does: Takes the default organization out of the rows that Phase 1 filled, and out of those that the application
--       wrote by the default where the organization itself goes.
-- lock: ROW EXCLUSIVE on the table
-- for: one batch
-- each: batch of a table with client_id
-- writes: table
-- undoes: fill_client_id
-- loses: SELECT client_id FROM public.:"table" WHERE :belongs_to_deleted
-- done: the log
UPDATE public.:"table"
SET client_id = NULL
WHERE :belongs_to_deleted AND :batch;

-- name: drop_client_id
-- does: Drops the column, and with it what it says. The values are gone for good.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond, whatever its size
-- each: table
-- undoes: add_client_id, analyze_table
-- loses: SELECT client_id FROM public.:"table" WHERE client_id IS NOT NULL
-- done: SELECT NOT EXISTS (
--           SELECT FROM pg_catalog.pg_attribute
--           WHERE attrelid = to_regclass('public.' || quote_ident(:'table'))
--             AND attname = 'client_id' AND NOT attisdropped)
ALTER TABLE public.:"table"
    DROP COLUMN client_id;

-- name: delete_default_organization
-- does: Deletes the default organization from a table that was there before Phase 1. Whoever would refer to it
--       from now on waits; a row that refers to it already, and came after it was looked for, is not deleted with
--       it, whatever its foreign key says: the step fails.
-- lock: ROW EXCLUSIVE on organizations
-- for: milliseconds
-- each: database
-- writes: organizations
-- undoes: create_default_organization
-- needs: create_organizations
-- done: SELECT NOT EXISTS (SELECT FROM public.organizations WHERE id = :'default_organization')
SELECT FROM public.organizations WHERE id = :'default_organization' FOR UPDATE;
DO $$
BEGIN
    IF :referred_to THEN
        RAISE foreign_key_violation USING MESSAGE = 'rows refer to the default organization since a moment ago';
    END IF;
END
$$;
DELETE FROM public.organizations
WHERE id = :'default_organization';

-- name: drop_organizations
-- does: Drops the table of clients.
-- lock: ACCESS EXCLUSIVE on organizations
-- for: milliseconds
-- each: database
-- undoes: create_organizations
-- loses: SELECT id FROM public.organizations
-- done: SELECT to_regclass('public.organizations') IS NULL
DROP TABLE public.organizations;

-- name: drop_pgcrypto
-- does: Drops the extension.
-- lock: none on a table
-- for: milliseconds
-- each: database
-- undoes: create_pgcrypto
-- done: SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pgcrypto')
DROP EXTENSION pgcrypto;

-- name: drop_migration_log
-- does: Drops the log, with --purge-log only.
-- lock: ACCESS EXCLUSIVE on migration_log
-- for: milliseconds
-- each: log
-- undoes: create_migration_log
-- done: SELECT to_regclass('public.migration_log') IS NULL
DROP TABLE public.migration_log;
