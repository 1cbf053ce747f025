-- Phase 1: the migration, step by step.
--
-- Each step is headed by
--   name   what the log and the progress call it
--   does   what it changes
--   lock   the strongest lock it takes and on what; a table's partitions belong to it
--   for    how long that lock is held by the step itself; the transactional mode keeps it until COMMIT
--   each   what it is run for: the run, a transaction, the database, a table, an index …
--   writes the table that was there before whose rows it writes, and whose triggers it therefore fires
--   needs  the step without which `done` cannot be asked
--   done   the query that says whether the step is done
-- :"name" is an identifier, :'name' a literal, :name SQL text; phase_1/found.py fills them in. A statement
-- whose :name has no value is left out (a GRANT to a role that this server does not have).

-- name: settings
-- does: Makes what the step needs independent of what the role or the database has set. All of it ends
--       with the transaction. A runner that hangs while it holds locks loses them after three seconds,
--       one that died in the middle of a statement after one.
-- lock: none
-- for: no time
-- each: transaction
SET LOCAL search_path = '';
SET LOCAL row_security = off;
SET LOCAL lock_timeout = :'lock_timeout';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = '3s';
SET LOCAL transaction_timeout = :no_transaction_timeout;
SET LOCAL client_connection_check_interval = :connection_check;

-- name: settings_of_the_session
-- does: The same for a statement that cannot be in a transaction. What it waits for, every older
--       transaction of the database, keeps nobody else waiting: the limit is its own.
-- lock: none
-- for: no time
-- each: statement outside of a transaction
SET search_path = '';
SET lock_timeout = :'concurrently_timeout';
SET statement_timeout = 0;
SET transaction_timeout = :no_transaction_timeout;
SET client_connection_check_interval = :connection_check;

-- name: settings_put_back
-- does: Puts them back.
-- lock: none
-- for: no time
-- each: statement outside of a transaction
RESET search_path;
RESET lock_timeout;
RESET statement_timeout;
SET transaction_timeout = :default_transaction_timeout;
SET client_connection_check_interval = :default_connection_check;

-- name: one_at_a_time
-- does: Keeps a second run of Phase 1 out for the length of the transaction.
-- lock: an advisory lock
-- for: the transaction
-- each: transaction
SELECT pg_catalog.pg_advisory_xact_lock(:advisory_lock);

-- name: lock_tables
-- does: Takes every lock that the transaction will need at once, before any work is done, so that giving
--       way to the application costs nothing.
-- lock: ACCESS EXCLUSIVE on the tenant tables, and on the new ones that are dropped
-- for: until COMMIT
-- each: run
LOCK TABLE :tables IN ACCESS EXCLUSIVE MODE;

-- name: nothing_foreign_fires
-- does: Fails where writing to the table would run a trigger of somebody else's with the rights of this run. Whoever
--       was granted TRIGGER may have created one since the table was looked at; none can be created from here on.
-- lock: ROW EXCLUSIVE on the table
-- for: until COMMIT
-- each: transaction
LOCK TABLE public.:"table" IN ROW EXCLUSIVE MODE;
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_trigger AS t
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND d.objid = t.oid
        LEFT JOIN pg_catalog.pg_proc AS f
            ON d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND f.oid = d.refobjid
        LEFT JOIN pg_catalog.pg_operator AS o
            ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid
        LEFT JOIN pg_catalog.pg_type AS y
            ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND y.oid = d.refobjid
        -- PostgreSQL's own functions are found in the condition only; some of them run any SQL
        LEFT JOIN LATERAL pg_catalog.regexp_matches(t.tgqual::pg_catalog.text, '[:]funcid ([0-9]+)', 'g') AS called ON TRUE
        LEFT JOIN pg_catalog.pg_proc AS p
            ON p.oid = called[1]::pg_catalog.oid AND p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
        WHERE t.tgrelid = pg_catalog.to_regclass('public.' || pg_catalog.quote_ident(:'table'))
            AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & :events <> 0
            -- UPDATE OF other columns does not fire
            AND (t.tgtype & :events & 12 <> 0 OR t.tgattr::pg_catalog.text = '' OR EXISTS (
                SELECT FROM pg_catalog.pg_attribute
                WHERE attrelid = t.tgrelid AND attname = 'client_id' AND attnum = ANY (t.tgattr)))
            AND (NOT pg_catalog.pg_has_role(coalesce(f.proowner, o.oprowner), :trusted_with_code, :rights)
                OR NOT pg_catalog.pg_has_role(y.typowner, :owner_of_users, :rights)
                OR :powerful
                OR ((t.tgnargs > 0 OR f.oid <> t.tgfoid) AND EXISTS (
                    SELECT FROM pg_catalog.pg_class AS c
                    CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS acl
                    WHERE c.oid = t.tgrelid AND acl.privilege_type = 'TRIGGER'
                        AND (acl.grantee = 0 OR NOT pg_catalog.pg_has_role(acl.grantee, :owner_of_users, :rights)))))
        UNION ALL
        -- a foreign key that follows writes to a table of its own
        SELECT FROM pg_catalog.pg_constraint AS k
        JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
        WHERE k.confrelid = pg_catalog.to_regclass('public.' || pg_catalog.quote_ident(:'table')) AND k.contype = 'f'
            AND ((:events & 8 <> 0 AND k.confdeltype IN ('c', 'n', 'd'))
                OR (:events & 16 <> 0 AND k.confupdtype IN ('c', 'n', 'd') AND EXISTS (
                    SELECT FROM pg_catalog.pg_attribute
                    WHERE attrelid = k.confrelid AND attname = 'client_id' AND attnum = ANY (k.confkey))))
            AND NOT pg_catalog.pg_has_role(c.relowner, :owner_of_users, :rights)
    ) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'a trigger or a foreign key of another role has come to a table that the run writes to',
            HINT = 'run it again with --dry-run, which names it';
    END IF;
END
$$;

-- name: create_migration_log
-- does: Creates the table that says what Phase 1 did. It has a transaction of its own: what failed, and
--       why, is there after the rollback of everything else.
-- lock: ACCESS EXCLUSIVE on the new table
-- for: milliseconds
-- each: log
-- done: SELECT to_regclass('public.migration_log') IS NOT NULL
CREATE TABLE public.migration_log (
    id bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME public.migration_log_id_seq) PRIMARY KEY,
    phase text NOT NULL,
    operation text NOT NULL,
    status text NOT NULL CHECK (status IN ('started', 'completed', 'failed', 'skipped')),
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE public.migration_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY phase_1_denied ON public.migration_log
    AS RESTRICTIVE FOR ALL TO :denied_roles USING (FALSE) WITH CHECK (FALSE);
REVOKE ALL ON TABLE public.migration_log FROM :revoked_roles;
REVOKE ALL ON SEQUENCE public.migration_log_id_seq FROM :revoked_roles;
GRANT SELECT ON TABLE public.migration_log TO :service_role;

-- name: create_pgcrypto
-- does: Provides gen_random_uuid(), which PostgreSQL 12 does not have of its own.
-- lock: none on a table
-- for: milliseconds
-- each: database
-- done: SELECT EXISTS (
--           SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner
--           WHERE p.proname = 'gen_random_uuid' AND p.pronargs = 0 AND (r.rolsuper OR r.rolname = current_user))
CREATE EXTENSION pgcrypto WITH SCHEMA public;

-- name: create_organizations
-- does: Creates the table of clients, closed to the roles of the web API from the start.
-- lock: ACCESS EXCLUSIVE on the new table
-- for: milliseconds
-- each: database
-- done: SELECT to_regclass('public.organizations') IS NOT NULL
CREATE TABLE public.organizations (
    id uuid PRIMARY KEY DEFAULT :gen_random_uuid(),
    name text NOT NULL UNIQUE,
    slug text NOT NULL UNIQUE,
    settings jsonb DEFAULT '{}',
    is_active boolean DEFAULT TRUE,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now()
);
ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY;
CREATE POLICY phase_1_denied ON public.organizations
    AS RESTRICTIVE FOR ALL TO :denied_roles USING (FALSE) WITH CHECK (FALSE);
REVOKE ALL ON TABLE public.organizations FROM :revoked_roles;
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE public.organizations TO :service_role;

-- name: create_default_organization
-- does: Creates the client that owns everything that is already there.
-- lock: ROW EXCLUSIVE on organizations
-- for: milliseconds
-- each: database
-- writes: organizations
-- needs: create_organizations
-- done: SELECT EXISTS (SELECT FROM public.organizations WHERE id = :'default_organization')
INSERT INTO public.organizations (id, name, slug)
VALUES (:'default_organization', 'Default Organization', 'default-org');

-- name: add_client_id
-- does: Adds client_id to a tenant table. A constant default is a change of the catalog alone: no row is
--       written, no trigger fires, and the old application goes on inserting without the column.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond, whatever its size
-- each: table
-- done: SELECT EXISTS (
--           SELECT FROM pg_catalog.pg_attribute
--           WHERE attrelid = to_regclass('public.' || quote_ident(:'table'))
--             AND attname = 'client_id' AND NOT attisdropped)
ALTER TABLE public.:"table"
    ADD COLUMN client_id uuid NOT NULL DEFAULT :'default_organization';

-- name: set_client_id_default
-- does: Gives a client_id that was there before Phase 1 the default. Done once, as where the column was added with
--       it: a later phase drops the default, and a second run does not bring it back.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table with client_id
-- done: SELECT ARRAY['add_client_id(' || :'table' || ')', 'set_client_id_default(' || :'table' || ')'] && :standing
--         OR EXISTS (
--           SELECT FROM pg_catalog.pg_attrdef AS d
--           JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
--           WHERE a.attrelid = to_regclass('public.' || quote_ident(:'table')) AND a.attname = 'client_id'
--             AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) = pg_catalog.quote_literal(:'default_organization') || '::uuid')
ALTER TABLE public.:"table"
    ALTER COLUMN client_id SET DEFAULT :'default_organization';

-- name: fill_client_id
-- does: Gives the rows of a client_id that was there before Phase 1, and is NULL, to the default
--       organization, in batches of the primary key. The only step that writes rows of the application.
-- lock: ROW EXCLUSIVE on the table
-- for: one batch
-- each: batch of a table with client_id
-- writes: table
-- done: SELECT attnotnull FROM pg_catalog.pg_attribute
--       WHERE attrelid = to_regclass('public.' || quote_ident(:'table')) AND attname = 'client_id'
UPDATE public.:"table"
SET client_id = :'default_organization'
WHERE client_id IS NULL AND :batch;

-- name: check_client_id
-- does: Promises, for rows to come, that a client_id that was there before Phase 1 is not NULL. What a deferred
--       trigger has still to do for the rows that were filled is done first: until then no table can be altered.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table with client_id
-- done: SELECT attnotnull OR EXISTS (
--           SELECT FROM pg_catalog.pg_constraint
--           WHERE conrelid = attrelid AND conname = 'phase_1_client_id_check')
--       FROM pg_catalog.pg_attribute
--       WHERE attrelid = to_regclass('public.' || quote_ident(:'table')) AND attname = 'client_id'
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE public.:"table"
    ADD CONSTRAINT phase_1_client_id_check CHECK (client_id IS NOT NULL) NOT VALID;

-- name: validate_client_id
-- does: Reads the table once to see that the promise holds for the rows that are there.
-- lock: SHARE UPDATE EXCLUSIVE on the table
-- for: one scan of the table; stops no read and no write
-- each: table with client_id
-- done: SELECT attnotnull OR EXISTS (
--           SELECT FROM pg_catalog.pg_constraint
--           WHERE conrelid = attrelid AND conname = 'phase_1_client_id_check' AND convalidated)
--       FROM pg_catalog.pg_attribute
--       WHERE attrelid = to_regclass('public.' || quote_ident(:'table')) AND attname = 'client_id'
ALTER TABLE public.:"table"
    VALIDATE CONSTRAINT phase_1_client_id_check;

-- name: require_client_id
-- does: Makes it NOT NULL without a scan, since the check says so already, and drops the check.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table with client_id
-- done: SELECT attnotnull FROM pg_catalog.pg_attribute
--       WHERE attrelid = to_regclass('public.' || quote_ident(:'table')) AND attname = 'client_id'
ALTER TABLE public.:"table"
    ALTER COLUMN client_id SET NOT NULL;
ALTER TABLE public.:"table"
    DROP CONSTRAINT phase_1_client_id_check;

-- name: add_client_id_foreign_key
-- does: Ties client_id to its organization, for rows to come. A partitioned table cannot be tied in this way
--       before PostgreSQL 18: its partitions are.
-- lock: SHARE ROW EXCLUSIVE on the table and on organizations
-- for: about a millisecond
-- each: ordinary table or partition
-- done: SELECT EXISTS (
--           SELECT FROM pg_catalog.pg_constraint AS c
--           JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
--           WHERE c.contype = 'f' AND c.conrelid = to_regclass('public.' || quote_ident(:'table'))
--             AND c.confrelid = to_regclass('public.organizations') AND a.attname = 'client_id')
ALTER TABLE public.:"table"
    ADD CONSTRAINT :"foreign_key" FOREIGN KEY (client_id)
    REFERENCES public.organizations (id) ON DELETE RESTRICT NOT VALID;

-- name: validate_client_id_foreign_key
-- does: Checks the rows that are there against organizations.
-- lock: SHARE UPDATE EXCLUSIVE on the table, ROW SHARE on organizations
-- for: one scan of the table, about 0.1 s a million rows; stops no read and no write
-- each: ordinary table or partition
-- done: SELECT EXISTS (
--           SELECT FROM pg_catalog.pg_constraint AS c
--           JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
--           WHERE c.contype = 'f' AND c.conrelid = to_regclass('public.' || quote_ident(:'table')) AND c.convalidated
--             AND c.confrelid = to_regclass('public.organizations') AND a.attname = 'client_id')
ALTER TABLE public.:"table"
    VALIDATE CONSTRAINT :"foreign_key";

-- name: add_partitioned_foreign_key
-- does: Ties the client_id of a partitioned table, for partitions to come. Those that are there have the same
--       key, validated, and PostgreSQL takes it for its own: no row is read.
-- lock: SHARE ROW EXCLUSIVE on the table, ACCESS EXCLUSIVE on organizations
-- for: about a millisecond
-- each: partitioned table
-- done: SELECT EXISTS (
--           SELECT FROM pg_catalog.pg_constraint AS c
--           JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
--           WHERE c.contype = 'f' AND c.conrelid = to_regclass('public.' || quote_ident(:'table')) AND c.convalidated
--             AND c.confrelid = to_regclass('public.organizations') AND a.attname = 'client_id')
ALTER TABLE public.:"table"
    ADD CONSTRAINT :"foreign_key" FOREIGN KEY (client_id)
    REFERENCES public.organizations (id) ON DELETE RESTRICT;

-- name: create_user_organizations
-- does: Creates the memberships, closed to the roles of the web API from the start.
-- lock: SHARE ROW EXCLUSIVE on users and on organizations
-- for: milliseconds
-- each: database
-- done: SELECT to_regclass('public.user_organizations') IS NOT NULL
CREATE TABLE public.user_organizations (
    id uuid PRIMARY KEY DEFAULT :gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES public.users (id) ON DELETE CASCADE,
    organization_id uuid NOT NULL REFERENCES public.organizations (id),
    role text NOT NULL DEFAULT 'member',
    is_active boolean DEFAULT TRUE,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now(),
    UNIQUE (user_id, organization_id)
);
CREATE INDEX ON public.user_organizations (organization_id);
ALTER TABLE public.user_organizations ENABLE ROW LEVEL SECURITY;
CREATE POLICY phase_1_denied ON public.user_organizations
    AS RESTRICTIVE FOR ALL TO :denied_roles USING (FALSE) WITH CHECK (FALSE);
REVOKE ALL ON TABLE public.user_organizations FROM :revoked_roles;
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE public.user_organizations TO :service_role;

-- name: add_memberships
-- does: Makes every user who is there a member of the organization in users.client_id. Done once: a user
--       who comes later, or whose membership is taken away later, is none of this step's business.
-- lock: ROW EXCLUSIVE on user_organizations, ROW SHARE on users
-- for: one batch
-- each: batch of users
-- writes: user_organizations
-- needs: create_migration_log
-- done: the log
INSERT INTO public.user_organizations (user_id, organization_id)
SELECT id, client_id FROM public.users
WHERE :batch
ON CONFLICT DO NOTHING;

-- name: drop_partial_pins
-- does: Drops what is left of the policies of the next step where somebody has dropped one of them.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table with row security
-- done: SELECT count(*) = 0 OR :pins <@ array_agg(polname::text)
--       FROM pg_catalog.pg_policy
--       WHERE polrelid = to_regclass('public.' || quote_ident(:'table')) AND polname LIKE 'phase\_1\_client\_pinned%'
DROP POLICY IF EXISTS phase_1_client_pinned ON public.:"table";
DROP POLICY IF EXISTS phase_1_client_pinned_update ON public.:"table";
DROP POLICY IF EXISTS phase_1_client_pinned_delete ON public.:"table";

-- name: pin_client
-- does: Keeps the roles of the web API, where a table has row-level security, to writing rows of the
--       default organization: they can neither put a row into another client, nor take one from it, nor
--       delete one there. A role that other policies keep to its client, those of Phase 2 or of the
--       application, is left to them, command by command.
-- lock: ACCESS EXCLUSIVE on the table
-- for: about a millisecond
-- each: table with row security
-- done: SELECT :pins <@ ARRAY(
--           SELECT polname::text FROM pg_catalog.pg_policy WHERE polrelid = to_regclass('public.' || quote_ident(:'table')))
CREATE POLICY phase_1_client_pinned ON public.:"table"
    AS RESTRICTIVE FOR INSERT TO :insert_roles
    WITH CHECK (client_id = :'default_organization');
CREATE POLICY phase_1_client_pinned_update ON public.:"table"
    AS RESTRICTIVE FOR UPDATE TO :update_roles
    USING (client_id = :'default_organization') WITH CHECK (client_id = :'default_organization');
CREATE POLICY phase_1_client_pinned_delete ON public.:"table"
    AS RESTRICTIVE FOR DELETE TO :delete_roles
    USING (client_id = :'default_organization');

-- name: create_partitioned_index
-- does: Creates the index of a partitioned table as a frame for those of its partitions, which are built one by
--       one. It becomes valid with the last of them; partitions to come get theirs from it.
-- lock: SHARE on the table
-- for: milliseconds
-- each: index of a partitioned table
-- done: SELECT to_regclass('public.' || quote_ident(:'index')) IS NOT NULL
CREATE INDEX :"index" ON ONLY public.:"table" (:columns) :where;

-- name: drop_invalid_index
-- does: Drops an index of ours that an interrupted build left behind: it costs every write and serves no
--       query.
-- lock: ACCESS EXCLUSIVE on the table; online SHARE UPDATE EXCLUSIVE
-- for: milliseconds; online until every older transaction has ended
-- each: index
-- done: SELECT NOT EXISTS (
--           SELECT FROM pg_catalog.pg_index
--           WHERE indexrelid = to_regclass('public.' || quote_ident(:'index')) AND NOT (indisvalid AND indisready))
DROP INDEX :concurrently public.:"index";

-- name: create_index
-- does: Builds an index that serves a client-scoped query.
-- lock: SHARE on the table; online SHARE UPDATE EXCLUSIVE
-- for: the build, 0.3 to 0.8 s a million rows; online it stops no read and no write
-- each: index
-- done: SELECT EXISTS (
--           SELECT FROM pg_catalog.pg_index
--           WHERE indexrelid = to_regclass('public.' || quote_ident(:'index')) AND indisvalid AND indisready)
CREATE INDEX :concurrently :"index" ON public.:"table" (:columns) :where;

-- name: attach_index
-- does: Makes the index of a partition part of that of the table. Whoever plans a query on the partition
--       waits for it.
-- lock: none on a table, the strongest on the partition's index
-- for: milliseconds
-- each: index of a partition
-- done: SELECT EXISTS (
--           SELECT FROM pg_catalog.pg_inherits
--           WHERE inhrelid = to_regclass('public.' || quote_ident(:'index'))
--             AND inhparent = to_regclass('public.' || quote_ident(:'whole_index')))
ALTER INDEX public.:"whole_index" ATTACH PARTITION public.:"index";

-- name: analyze_table
-- does: Collects statistics on client_id, without which the planner takes every client for a small one.
-- lock: SHARE UPDATE EXCLUSIVE on the table
-- for: one sample of the table; stops no read and no write
-- each: table
-- needs: create_migration_log
-- done: the log
ANALYZE public.:"table" (client_id);

-- name: create_get_user_organization_id
-- does: Creates the function that names a user's organization.
-- lock: none on a table
-- for: milliseconds
-- each: database
-- done: SELECT to_regprocedure('public.get_user_organization_id(uuid)') IS NOT NULL
CREATE FUNCTION public.get_user_organization_id(user_id uuid) RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = ''
AS $function$
#variable_conflict use_column
BEGIN
    RETURN (
        SELECT coalesce(
            (
                SELECT m.organization_id
                FROM public.user_organizations AS m
                JOIN public.organizations AS o ON o.id = m.organization_id
                WHERE m.user_id = u.id AND m.is_active AND o.is_active
                ORDER BY m.organization_id = u.client_id DESC, m.created_at, m.id
                LIMIT 1
            ),
            (
                SELECT o.id
                FROM public.organizations AS o
                WHERE o.id = u.client_id AND o.is_active
                    AND NOT EXISTS (SELECT FROM public.user_organizations AS m WHERE m.user_id = u.id)
            )
        )
        FROM public.users AS u
        WHERE u.id = get_user_organization_id.user_id
    );
END;
$function$;
REVOKE ALL ON FUNCTION public.get_user_organization_id(uuid) FROM :function_revoked_roles;
GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO :execute_roles;

-- name: create_validate_client_access
-- does: Creates the function that says whether a user may see a client.
-- lock: none on a table
-- for: milliseconds
-- each: database
-- done: SELECT to_regprocedure('public.validate_client_access(uuid, uuid)') IS NOT NULL
CREATE FUNCTION public.validate_client_access(user_id uuid, client_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = ''
AS $function$
#variable_conflict use_column
BEGIN
    RETURN EXISTS (
        SELECT
        FROM public.organizations AS o
        JOIN public.users AS u ON u.id = validate_client_access.user_id
        WHERE o.id = validate_client_access.client_id AND o.is_active
            AND CASE
                WHEN EXISTS (SELECT FROM public.user_organizations AS m WHERE m.user_id = u.id)
                THEN EXISTS (
                    SELECT FROM public.user_organizations AS m
                    WHERE m.user_id = u.id AND m.organization_id = o.id AND m.is_active)
                ELSE u.client_id = o.id
            END
    );
END;
$function$;
REVOKE ALL ON FUNCTION public.validate_client_access(uuid, uuid) FROM :function_revoked_roles;
GRANT EXECUTE ON FUNCTION public.validate_client_access(uuid, uuid) TO :execute_roles;

-- name: create_validate_client_data_integrity
-- does: Creates the function that checks every row's client. It runs with the caller's rights and with
--       row_security off, so that who cannot see every row gets an error and not a pass. Types are looked
--       for among the session's temporary ones first, whatever the search_path: they are qualified too.
--       One that was made for fewer tables would pass whatever is in the others: it is replaced, and keeps
--       what was granted to others on it.
-- lock: none on a table
-- for: milliseconds
-- each: database
-- done: SELECT NOT EXISTS (
--           SELECT FROM pg_catalog.unnest(:table_names || :children) AS wanted (name)
--           WHERE pg_catalog.strpos(prosrc, pg_catalog.quote_literal(wanted.name)) = 0)
--       FROM pg_catalog.pg_proc
--       WHERE oid = to_regprocedure('public.validate_client_data_integrity()')
CREATE :or_replace FUNCTION public.validate_client_data_integrity() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY INVOKER SET search_path = '' SET row_security = off
AS $function$
DECLARE
    -- "child column parent": a row belongs to the client of its parent
    children CONSTANT pg_catalog.text[] := :children;
    tenant_table pg_catalog.text;
    child pg_catalog.text;
    part pg_catalog.text[];
    guaranteed pg_catalog.text[];
    without_client bigint;
    unknown_client bigint;
    disagreeing bigint;
    tables pg_catalog.jsonb := '{}';
    violations bigint := 0;
BEGIN
    FOREACH tenant_table IN ARRAY :table_names LOOP
        guaranteed := '{}';
        without_client := 0;
        unknown_client := 0;
        disagreeing := 0;

        IF EXISTS (
            SELECT FROM pg_catalog.pg_attribute
            WHERE attrelid = ('public.' || tenant_table)::pg_catalog.regclass AND attname = 'client_id' AND attnotnull
                -- PostgreSQL 18: NOT NULL NOT VALID
                AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_constraint
                    WHERE conrelid = attrelid AND conkey = ARRAY[attnum] AND contype = 'n' AND NOT convalidated)
        ) THEN
            guaranteed := guaranteed || 'without_client'::pg_catalog.text;
        ELSE
            EXECUTE format('SELECT count(*) FROM public.%I WHERE client_id IS NULL', tenant_table)
                INTO without_client;
        END IF;

        IF EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS c
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
            WHERE c.conrelid = ('public.' || tenant_table)::pg_catalog.regclass AND c.convalidated
                AND c.confrelid = 'public.organizations'::pg_catalog.regclass AND a.attname = 'client_id'
        ) THEN
            guaranteed := guaranteed || 'unknown_client'::pg_catalog.text;
        ELSE
            EXECUTE format(
                'SELECT count(*) FROM public.%I AS t WHERE t.client_id IS NOT NULL AND NOT EXISTS ('
                'SELECT FROM public.organizations AS o WHERE o.id = t.client_id)', tenant_table)
                INTO unknown_client;
        END IF;

        IF tenant_table = 'users' THEN
            SELECT count(*) INTO disagreeing
            FROM public.users AS u
            WHERE EXISTS (SELECT FROM public.user_organizations AS m WHERE m.user_id = u.id)
                AND NOT EXISTS (
                    SELECT FROM public.user_organizations AS m
                    WHERE m.user_id = u.id AND m.organization_id = u.client_id);
        END IF;
        FOREACH child IN ARRAY children LOOP
            part := string_to_array(child, ' ');
            IF part[1] = tenant_table THEN
                EXECUTE format(
                    'SELECT count(*) FROM public.%I AS c JOIN public.%I AS p ON p.id = c.%I '
                    'WHERE c.client_id IS DISTINCT FROM p.client_id', part[1], part[3], part[2])
                    INTO disagreeing;
            END IF;
        END LOOP;

        violations := violations + without_client + unknown_client + disagreeing;
        tables := tables || jsonb_build_object(tenant_table, jsonb_build_object(
            'without_client', without_client,
            'unknown_client', unknown_client,
            'disagreeing', disagreeing,
            'guaranteed', to_jsonb(guaranteed)));
    END LOOP;

    RETURN jsonb_build_object(
        'status', CASE WHEN violations = 0 THEN 'passed' ELSE 'failed' END,
        'violations', violations,
        'tables', tables);
END;
$function$;
REVOKE ALL ON FUNCTION public.validate_client_data_integrity() FROM :function_revoked_roles;
GRANT EXECUTE ON FUNCTION public.validate_client_data_integrity() TO :service_role;

-- name: note
-- does: Writes into the log, in the step's own transaction, that the step was done: the log can neither
--       promise what was rolled back nor miss what was committed. Whether the transaction was committed
--       can be asked afterwards by the two numbers.
-- lock: ROW EXCLUSIVE on migration_log
-- for: until COMMIT
-- each: note
INSERT INTO public.migration_log (phase, operation, status, details)
VALUES ('phase_1', :'operation', 'completed', :'details')
RETURNING id, pg_catalog.txid_current();
