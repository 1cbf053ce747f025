-- Phase 1: what is asked before anything is touched.
--
-- Each check is one query that returns a row per violation: object, what is wrong, what to do. No rows, no
-- violation. Headers:
--   level  error (the run is refused) or warning
--   stage  preflight (before the migration) or rollback (before the rollback)
--   each   run once, or for each table of a kind
-- :tables_found, :indexes_wanted … are lists of rows that phase_1/found.py fills in. :query_without_literals is what is
-- shown of the query of another session (phase_1/shown.py).

-- name: server_takes_writes
-- level: error
-- stage: preflight, rollback
SELECT
    'server' AS object,
    CASE WHEN pg_is_in_recovery() THEN 'is a standby: it can be read only'
        ELSE 'transactions are read only by default here' END AS problem,
    CASE WHEN pg_is_in_recovery() THEN 'connect to the primary'
        ELSE 'use a role and a database without default_transaction_read_only' END AS action
WHERE pg_is_in_recovery()
    OR (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only') = 'on';

-- name: lock_timeout_is_below_that_of_deadlocks
-- level: warning
-- stage: preflight, rollback
SELECT
    '--lock-timeout' AS object,
    format('%s is not below deadlock_timeout, %s ms: where the application and the run wait for each other, the '
        'application''s statement may be the one that is cancelled (40P01)', :'lock_timeout', setting) AS problem,
    'leave it out, or give less; a longer one is for autovacuum, which goes only after deadlock_timeout' AS action
FROM pg_settings
WHERE name = 'deadlock_timeout' AND setting::int * interval '1 ms' <= :'lock_timeout'::interval;

-- name: tenant_table_is_there
-- level: error
-- stage: preflight
SELECT
    'public.' || wanted.name AS object,
    CASE WHEN c.oid IS NULL THEN 'there is no such table'
        WHEN c.relkind NOT IN ('r', 'p') THEN 'is not a table'
        WHEN c.relispartition THEN 'is a partition itself: its columns are those of ' || parent.name
        WHEN c.reloftype <> 0 THEN 'is a typed table: its columns are those of type ' || c.reloftype::regtype
        ELSE 'has tables that inherit from it' END AS problem,
    CASE WHEN c.relispartition THEN format('ALTER TABLE %s DETACH PARTITION public.%I', parent.name, wanted.name)
        WHEN c.reloftype <> 0 THEN format('ALTER TABLE public.%I NOT OF', wanted.name)
        WHEN heirs.parting IS NOT NULL THEN heirs.parting
        ELSE 'connect to the right database' END
        || CASE WHEN wanted.name = 'users' THEN '; memberships and functions are built on users: it cannot be left out'
        ELSE ', or leave it out on purpose with --skip-table ' || wanted.name END AS action
FROM :tables_wanted AS wanted (name)
LEFT JOIN pg_class AS c ON c.oid = to_regclass('public.' || wanted.name)
LEFT JOIN LATERAL (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = c.oid) AS parent (name)
    ON c.relispartition
LEFT JOIN LATERAL (
    SELECT string_agg(format('ALTER TABLE %s NO INHERIT public.%I', inhrelid::regclass, wanted.name), '; ')
    FROM pg_inherits
    WHERE inhparent = c.oid
) AS heirs (parting) ON c.relkind = 'r'
WHERE c.oid IS NULL OR c.relkind NOT IN ('r', 'p') OR c.relispartition OR c.reloftype <> 0
    OR heirs.parting IS NOT NULL;

-- name: what_was_begun_is_not_left_out
-- level: error
-- stage: preflight
SELECT
    'public.' || left_out.name AS object,
    'cannot be left out: a run that was stopped has begun with it' AS problem,
    'run the migration again and do not leave it out; or take it back with --rollback first' AS action
FROM unnest(:half_done) AS left_out (name);

-- name: partitions_can_be_migrated
-- level: error
-- stage: preflight
SELECT
    p.oid::regclass::text AS object,
    format(CASE WHEN p.relkind <> 'r' THEN 'is a partition of public.%s that is not an ordinary table'
        ELSE 'is a partition of public.%s in another schema' END, found.name) AS problem,
    format('detach it, or leave the table out on purpose with --skip-table %s', found.name) AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_inherits AS h ON h.inhparent = to_regclass('public.' || found.name)
JOIN pg_class AS p ON p.oid = h.inhrelid
WHERE p.relkind <> 'r' OR p.relnamespace <> 'public'::regnamespace
UNION ALL
SELECT
    format('public.%s.client_id', found.name),
    'is the column of a partitioned table, and was there before Phase 1: its NULLs and its defaults are those of '
        'each partition',
    format('rename it, or leave the table out on purpose with --skip-table %s', found.name)
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name) AND c.relkind = 'p'
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'client_id'
WHERE 'add_client_id(' || found.name || ')' <> ALL (:standing);

-- name: role_owns_the_table
-- level: error
-- stage: preflight, rollback
SELECT
    format('public.%I', found.name) AS object,
    format(CASE WHEN its.member THEN 'belongs to %I, and %I is a member of that role without its rights (NOINHERIT)'
        ELSE 'belongs to %I, and %I is not a member of that role' END, its.owner, current_user) AS problem,
    format(CASE WHEN its.member THEN 'connect as %I, or begin the session as that role: add options=-crole=%1$I to the '
        'connection string' ELSE 'connect as %I' END, its.owner) AS action
FROM (
    SELECT name FROM :tables_found AS found (name, time_column)
    UNION ALL
    SELECT name FROM :partitions AS part (name)
    UNION ALL
    SELECT name FROM (VALUES ('organizations'), ('user_organizations'), ('migration_log')) AS new (name)
) AS found
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name))
CROSS JOIN LATERAL (SELECT pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'MEMBER')) AS its (owner, member)
WHERE NOT pg_has_role(c.relowner, 'USAGE');

-- name: role_owns_the_functions
-- level: error
-- stage: rollback
SELECT
    p.oid::regprocedure::text AS object,
    format('belongs to %I, and only with the rights of that role can it be dropped', pg_get_userbyid(p.proowner))
        AS problem,
    format('connect as %I; or, as that role: ALTER FUNCTION %s OWNER TO %I', pg_get_userbyid(p.proowner),
        p.oid::regprocedure, current_user) AS action
FROM :functions_wanted AS wanted (name, arguments)
JOIN pg_proc AS p ON p.oid = to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))
WHERE 'create_' || wanted.name = ANY (:standing) AND NOT pg_has_role(p.proowner, 'USAGE')
UNION ALL
SELECT
    'extension ' || extname,
    format('belongs to %I, and only with the rights of that role can it be dropped', pg_get_userbyid(extowner)),
    format('connect as %I', pg_get_userbyid(extowner))
FROM pg_extension
WHERE extname = 'pgcrypto' AND 'create_pgcrypto' = ANY (:standing) AND NOT pg_has_role(extowner, 'USAGE');

-- name: role_may_create
-- level: error
-- stage: preflight
SELECT
    'schema public' AS object,
    format('%I may not create tables and functions in it', current_user) AS problem,
    format('as its owner: GRANT USAGE, CREATE ON SCHEMA public TO %I', current_user) AS action
FROM pg_namespace
WHERE nspname = 'public' AND NOT (has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE'));

-- name: time_column_is_known
-- level: error
-- stage: preflight
SELECT
    'public.' || found.name AS object,
    format('has no column %s, by which its rows are ordered in time; it has %s', found.looked_for,
        coalesce((
            SELECT string_agg(attname, ', ' ORDER BY attnum)
            FROM pg_attribute
            WHERE attrelid = to_regclass('public.' || found.name)
                AND atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
        ), 'no time column at all')) AS problem,
    format('name it with --column %s.created_at=ACTUAL, or leave out what needs it with --skip-index %s',
        found.name, wanted.name) AS action
FROM :tables_found AS found (name, time_column, looked_for)
JOIN :indexes_wanted AS wanted (name, table_name, columns, literals)
    ON wanted.table_name = found.name AND 'created_at DESC' = ANY (wanted.columns)
WHERE found.time_column IS NULL;

-- name: index_column_is_there
-- level: error
-- stage: preflight
SELECT
    'public.' || wanted.table_name AS object,
    format('has no column %I, which %s is to be built on', col.name, wanted.name) AS problem,
    format('leave the index out on purpose with --skip-index %s', wanted.name) AS action
FROM :indexes_wanted AS wanted (name, table_name, columns, literals)
CROSS JOIN LATERAL unnest(wanted.columns) AS each (column_and_order)
CROSS JOIN LATERAL (SELECT regexp_replace(each.column_and_order, ' DESC$', '') AS name) AS col
WHERE col.name <> 'client_id' AND each.column_and_order <> 'created_at DESC'
    AND NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('public.' || wanted.table_name) AND attname = col.name);

-- name: index_literals_fit
-- level: error
-- stage: preflight
SELECT
    format('public.%s.%s', wanted.table_name, a.attname) AS object,
    format(CASE WHEN t.typcategory = 'S' THEN 'is of type %1$s, whose = is not that of text: %3$s would serve nobody'
        ELSE 'is of type %1$s and never %2$s, the rows that %3$s is of' END, format_type(a.atttypid, a.atttypmod),
        string_agg(quote_literal(each.value), ' or '), wanted.name) AS problem,
    format('leave the index out on purpose with --skip-index %s', wanted.name) AS action
FROM :indexes_wanted AS wanted (name, table_name, columns, literals)
CROSS JOIN LATERAL unnest(wanted.literals) AS each (value)
-- what an index of some rows is searched by is what these rows are chosen by
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || wanted.table_name) AND a.attname = wanted.columns[2]
JOIN pg_type AS t ON t.oid = a.atttypid
-- a text takes any value, an enum its labels, and a domain is written by the function of what it is made of
WHERE t.typoutput NOT IN ('textout'::regproc, 'varcharout'::regproc, 'bpcharout'::regproc)
    AND NOT EXISTS (
        SELECT FROM pg_enum
        WHERE enumtypid = coalesce(nullif(t.typbasetype, 0), t.oid) AND enumlabel = each.value)
GROUP BY wanted.name, wanted.table_name, a.attname, a.atttypid, a.atttypmod, t.typcategory;

-- name: index_columns_can_be_indexed
-- level: error
-- stage: preflight
SELECT
    format('public.%s.%s', wanted.table_name, a.attname) AS object,
    CASE WHEN a.attgenerated = 'v' THEN 'is a generated column that is not stored'
        ELSE format('is of type %s, which has no order', format_type(a.atttypid, a.atttypmod)) END
        || format(', and %s is to be built on it', wanted.name) AS problem,
    format('leave the index out on purpose with --skip-index %s', wanted.name) AS action
FROM :indexes_wanted AS wanted (name, table_name, columns, literals)
CROSS JOIN LATERAL unnest(wanted.columns) AS each (column_and_order)
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || wanted.table_name)
    AND a.attname = regexp_replace(each.column_and_order, ' DESC$', '')
JOIN pg_type AS t ON t.oid = a.atttypid
JOIN pg_type AS made_of ON made_of.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
WHERE a.attgenerated = 'v'
    -- arrays, enums, ranges and rows are ordered like what is in them
    OR (made_of.typtype = 'b' AND made_of.typcategory <> 'A'
        AND NOT EXISTS (
            SELECT
            FROM pg_opclass AS o
            JOIN pg_am AS am ON am.oid = o.opcmethod AND am.amname = 'btree'
            WHERE o.opcdefault
                AND (o.opcintype = made_of.oid OR EXISTS (
                    SELECT FROM pg_cast
                    WHERE (castsource, casttarget, castmethod, castcontext) = (made_of.oid, o.opcintype, 'b', 'i')))));

-- name: users_have_a_uuid_key
-- level: error
-- stage: preflight
SELECT
    'public.users' AS object,
    'has no unique column id of type uuid that is NOT NULL, which memberships refer to' AS problem,
    'Phase 1 needs users.id uuid PRIMARY KEY; convert it first' AS action
WHERE to_regclass('public.users') IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_attribute AS a
        JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum
        WHERE a.attrelid = to_regclass('public.users') AND a.attname = 'id' AND a.atttypid = 'uuid'::regtype
            AND a.attnotnull AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
            -- PostgreSQL 18 lets a column be NOT NULL whose rows nobody has looked at
            AND NOT EXISTS (
                SELECT FROM pg_constraint AS c
                WHERE c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum] AND c.contype = 'n'
                    AND NOT c.convalidated));

-- name: what_is_referred_to_is_logged
-- level: error
-- stage: preflight
SELECT
    'public.' || target.name AS object,
    'is UNLOGGED, and no table that is logged may refer to it' AS problem,
    format('ALTER TABLE public.%I SET LOGGED', target.name) AS action
FROM (VALUES ('users'), ('organizations')) AS target (name)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || target.name)
WHERE c.relpersistence = 'u';

-- name: parents_have_an_id
-- level: error
-- stage: preflight
SELECT
    'public.' || child.parent AS object,
    format('has no column id for %s.%s to be compared with', child.name, child.column_name) AS problem,
    format('leave it out on purpose with --skip-table %s', child.name) AS action
FROM :children_wanted AS child (name, column_name, parent)
WHERE NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('public.' || child.parent) AND attname = 'id')
UNION ALL
SELECT
    format('public.%s.%s', child.name, child.column_name),
    format('is of type %s and cannot be compared with public.%s.id of type %s',
        format_type(mine.atttypid, NULL), child.parent, format_type(its.atttypid, NULL)),
    format('give it the type of what it refers to, or leave it out on purpose with --skip-table %s', child.name)
FROM :children_wanted AS child (name, column_name, parent)
JOIN pg_attribute AS mine
    ON mine.attrelid = to_regclass('public.' || child.name) AND mine.attname = child.column_name
JOIN pg_attribute AS its
    ON its.attrelid = to_regclass('public.' || child.parent) AND its.attname = 'id'
JOIN pg_type AS my_type ON my_type.oid = mine.atttypid
JOIN pg_type AS its_type ON its_type.oid = its.atttypid
-- two numbers or two texts can be compared whatever their type, and a domain like what it is made of
WHERE my_type.typcategory <> its_type.typcategory
    OR (my_type.typcategory = 'U'
        AND coalesce(nullif(my_type.typbasetype, 0), my_type.oid)
            <> coalesce(nullif(its_type.typbasetype, 0), its_type.oid));

-- name: client_id_is_a_plain_uuid
-- level: error
-- stage: preflight
SELECT
    format('public.%s.client_id', found.name) AS object,
    CASE WHEN a.attgenerated <> '' THEN 'is a generated column'
        ELSE format('is there already, as %s instead of uuid', format_type(a.atttypid, a.atttypmod))
    END AS problem,
    format('rename it first: ALTER TABLE public.%I RENAME COLUMN client_id TO former_client_id', found.name)
        AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
WHERE a.atttypid <> 'uuid'::regtype OR a.attgenerated <> ''
UNION ALL
-- PostgreSQL 18 lets a column be NOT NULL whose rows nobody has looked at
SELECT
    format('public.%s.client_id', found.name),
    format('is NOT NULL by %s, which was never validated: there may be NULLs', c.conname),
    format('let Phase 1 fill them: ALTER TABLE public.%1$I ALTER COLUMN client_id DROP NOT NULL; or, where there are '
        'none: ALTER TABLE public.%1$I VALIDATE CONSTRAINT %2$I', found.name, c.conname)
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
JOIN pg_constraint AS c
    ON c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum] AND c.contype = 'n' AND NOT c.convalidated;

-- name: client_id_has_no_other_default
-- level: error
-- stage: preflight
SELECT
    format('public.%s.client_id', found.name) AS object,
    format('has the default %s: what is inserted without a client gets that today, and goes to the default '
        'organization after the migration', pg_get_expr(d.adbin, d.adrelid)) AS problem,
    format('ALTER TABLE public.%I ALTER COLUMN client_id DROP DEFAULT, where the application names the client itself',
        found.name)
        || CASE WHEN found.name = 'users' THEN ''
        ELSE format('; or leave the table out on purpose with --skip-table %s', found.name) END AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE pg_get_expr(d.adbin, d.adrelid) <> quote_literal(:'default_organization') || '::uuid'
    AND a.attgenerated = ''
    -- what was changed since is what --verify speaks of
    AND NOT ARRAY[format('add_client_id(%s)', found.name), format('set_client_id_default(%s)', found.name)] && :standing;

-- name: triggers_do_not_fill_client_id
-- level: warning
-- stage: preflight
SELECT
    format('trigger %s on public.%s', t.tgname, found.name) AS object,
    'looks at client_id before each insert: where the application names no client, it finds the default organization '
        'there, and not NULL, after the migration' AS problem,
    format('see that it does not take NULL for a client that was not named; or leave the table out on purpose with '
        '--skip-table %s', found.name) AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
JOIN pg_trigger AS t ON t.tgrelid = a.attrelid AND t.tgenabled IN ('O', 'A')
JOIN pg_proc AS p ON p.oid = t.tgfoid
-- the default is still to come
WHERE NOT a.atthasdef
    AND NOT ARRAY[format('add_client_id(%s)', found.name), format('set_client_id_default(%s)', found.name)] && :standing
    -- the bits of tgtype: 1 FOR EACH ROW, 2 BEFORE, 4 INSERT
    AND t.tgtype & 7 = 7
    AND (p.prosrc || pg_get_triggerdef(t.oid)) ~ '\mclient_id\M';

-- name: pins_lock_no_client_out
-- level: error
-- stage: preflight
-- each: table with client_id
SELECT
    'public.' || :'table' AS object,
    format('%s rows belong to other organizations than the default one, and %s, which may write them today, could not '
        'once it is kept to that one (%s)', others.rows, writing.roles, writing.commands) AS problem,
    format('where the policies of the application keep them to their client, say so in one that looks at it, and Phase '
        '1 leaves them to it: CREATE POLICY of_client ON public.%I AS RESTRICTIVE TO %s USING (client_id = ...)',
        :'table', writing.roles)
        || CASE WHEN :'table' = 'users' THEN ''
        ELSE format('; or leave the table out on purpose with --skip-table %s', :'table') END AS action
FROM (
    SELECT
        string_agg(DISTINCT api.rolname, ', ') AS roles, string_agg(DISTINCT command.name, ', ') AS commands
    FROM pg_class AS c
    JOIN pg_policy AS p ON p.polrelid = c.oid AND p.polpermissive
    JOIN (VALUES ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) AS command (name, letter)
        ON p.polcmd::text IN ('*', command.letter)
    JOIN pg_roles AS api
        ON api.rolname IN ('anon', 'authenticated')
        AND EXISTS (
            SELECT FROM unnest(p.polroles) AS r (oid) WHERE r.oid = 0 OR pg_has_role(api.oid, r.oid, 'USAGE'))
        AND format('%s %s %s', c.relname, command.name, api.rolname) <> ALL (:isolated)
        AND CASE WHEN command.name = 'DELETE' THEN has_table_privilege(api.oid, c.oid, 'DELETE')
            ELSE has_any_column_privilege(api.oid, c.oid, command.name) END
    WHERE c.oid = to_regclass('public.' || quote_ident(:'table')) AND c.relrowsecurity
) AS writing
CROSS JOIN LATERAL (
    SELECT count(*) AS rows
    FROM public.:"table"
    WHERE client_id <> :'default_organization' AND writing.roles IS NOT NULL
) AS others
WHERE others.rows > 0
    -- afterwards a second client is what --verify speaks of
    AND NOT ARRAY['add_client_id(' || :'table' || ')', 'pin_client(' || :'table' || ')'] && :standing;

-- name: other_policies_are_relied_on
-- level: warning
-- stage: preflight
SELECT
    'public.' || found.name AS object,
    format('Phase 1 does not keep %s to the default organization here (%s), and relies on what looks at client_id: %s',
        string_agg(DISTINCT api.rolname, ', '), string_agg(DISTINCT command.name, ', '),
        string_agg(DISTINCT format('policy %I', p.polname), ', ')) AS problem,
    'see that it lets nobody write a row of another client: one that says client_id IS NOT NULL does not' AS action
FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS found
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name)) AND c.relrowsecurity
JOIN (VALUES ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) AS command (name, letter) ON TRUE
JOIN pg_roles AS api ON format('%s %s %s', found.name, command.name, api.rolname) = ANY (:isolated)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'client_id'
JOIN pg_policy AS p ON p.polrelid = c.oid AND p.polcmd::text IN ('*', command.letter)
JOIN pg_depend AS d
    ON (d.classid, d.objid) = ('pg_policy'::regclass, p.oid)
    AND (d.refclassid, d.refobjid, d.refobjsubid) = ('pg_class'::regclass, c.oid, a.attnum)
-- where Phase 2 has replaced what Phase 1 did, it was no oversight
WHERE 'pin_client(' || found.name || ')' <> ALL (:standing)
GROUP BY found.name;

-- name: client_id_points_to_organizations
-- level: error
-- stage: preflight
-- each: table with client_id
SELECT
    format('public.%s.client_id', :'table') AS object,
    format('%s rows point to %s organizations that do not exist', count(*), count(DISTINCT client_id))
        AS problem,
    format('create those organizations, or set the values to NULL: SELECT client_id, count(*) FROM public.%I '
        'GROUP BY 1', :'table') AS action
FROM public.:"table" AS t
WHERE client_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM :organizations AS o WHERE o.id = t.client_id)
HAVING count(*) > 0;

-- name: rows_agree_with_their_parent
-- level: error
-- stage: preflight
-- each: child with client_id
SELECT
    'public.' || :'table' AS object,
    format('%s rows would belong to another client than the row of public.%s that their %s names',
        count(*), :'parent', :'column') AS problem,
    format('give them the client of what they belong to, in a column of their own: ALTER TABLE public.%1$I '
        'ADD COLUMN client_id uuid; UPDATE public.%1$I AS c SET client_id = p.client_id FROM public.%2$I AS p '
        'WHERE p.id = c.%3$I', :'table', :'parent', :'column') AS action
FROM public.:"table" AS c
JOIN public.:"parent" AS p ON p.id = c.:"column"
WHERE :client <> :parents_client
HAVING count(*) > 0;

-- name: client_id_foreign_key_restricts
-- level: error
-- stage: preflight
SELECT
    format('constraint %s on public.%s', c.conname, found.name) AS object,
    format('ties client_id in another way: %s', pg_get_constraintdef(c.oid)) AS problem,
    format('drop it; Phase 1 adds its own: ALTER TABLE public.%I DROP CONSTRAINT %I', found.name, c.conname)
        AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_constraint AS c ON c.conrelid = to_regclass('public.' || found.name)
WHERE c.contype = 'f'
    AND EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = c.conrelid AND a.attname = 'client_id' AND a.attnum = ANY (c.conkey))
    AND NOT (
        c.conname = found.name || '_client_id_fkey'
        AND c.confrelid = coalesce(to_regclass('public.organizations'), 0) AND c.confdeltype = 'r'
        -- PostgreSQL 18 lets a key be there and ask for nothing
        AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, TRUE))
UNION ALL
SELECT
    format('constraint %s on public.%s', c.conname, found.name),
    format('has the name of the foreign key to come: %s', pg_get_constraintdef(c.oid)),
    format('rename it: ALTER TABLE public.%I RENAME CONSTRAINT %I TO former_%s', found.name, c.conname, c.conname)
FROM :tables_found AS found (name, time_column)
JOIN pg_constraint AS c ON c.conrelid = to_regclass('public.' || found.name)
WHERE (c.conname = found.name || '_client_id_fkey' AND c.contype <> 'f')
    OR (c.conname = 'phase_1_client_id_check' AND pg_get_constraintdef(c.oid) NOT LIKE 'CHECK ((client_id IS NOT NULL))%');

-- name: index_name_is_free
-- level: error
-- stage: preflight
SELECT
    'public.' || wanted.name AS object,
    CASE WHEN i.indexrelid IS NULL THEN 'is the name of another object'
        ELSE 'is another index: ' || pg_get_indexdef(i.indexrelid) END AS problem,
    CASE WHEN i.indexrelid IS NULL THEN format('rename it, or leave the index out with --skip-index %s', wanted.whole)
        ELSE format('rename it: ALTER INDEX public.%I RENAME TO %I; or leave it as it is with '
            '--skip-index %s', wanted.name, 'former_' || wanted.name, wanted.whole) END AS action
FROM (
    SELECT name, table_name, name AS whole, columns, literals
    FROM :indexes_wanted AS i (name, table_name, columns, literals)
    UNION ALL
    SELECT name, table_name, whole, columns, literals
    FROM :partition_indexes AS i (name, table_name, whole, columns, literals)
) AS wanted
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(wanted.name))
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_am AS am ON am.oid = c.relam
WHERE i.indrelid IS DISTINCT FROM to_regclass('public.' || quote_ident(wanted.table_name))
    OR am.amname <> 'btree' OR i.indisunique
    OR i.indnatts <> cardinality(wanted.columns)
    OR wanted.columns <> ARRAY(
        SELECT a.attname || CASE i.indoption[k - 1] WHEN 0 THEN '' WHEN 3 THEN ' DESC' ELSE ' NULLS' END
        FROM generate_series(1, i.indnkeyatts) AS k
        LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]
        ORDER BY k)
    OR wanted.literals <> ARRAY(
        SELECT m[1] FROM regexp_matches(coalesce(pg_get_expr(i.indpred, i.indrelid), ''), '''([^'']*)''', 'g') AS m
        ORDER BY 1)
    OR pg_get_expr(i.indpred, i.indrelid) ~ '<>|NOT ';

-- name: index_values_fit
-- level: error
-- stage: preflight
-- each: indexed column of any width
SELECT
    format('public.%s.%s', :'table', :'column') AS object,
    format('has %s values of more than 2,600 bytes as they are stored, which no index takes', count(*)) AS problem,
    format('shorten them (WHERE pg_column_size(%I) > 2600), or --skip-index what is to be built on them', :'column')
        AS action
FROM public.:"table"
-- a third of a page, 2,704 bytes, less the client and what belongs to every entry
WHERE pg_column_size(:"column") > 2600
HAVING count(*) > 0;

-- name: new_table_name_is_free
-- level: error
-- stage: preflight
SELECT
    'public.user_organizations' AS object,
    'is there already, and the log does not say that Phase 1 created it' AS problem,
    'rename it: ALTER TABLE public.user_organizations RENAME TO former_user_organizations; or, where Phase 1 has been '
        'run before, restore public.migration_log' AS action
WHERE to_regclass('public.user_organizations') IS NOT NULL AND NOT 'create_user_organizations' = ANY (:standing)
UNION ALL
SELECT
    'public.migration_log_id_seq',
    'has the name of the sequence of the log to come',
    'rename it: ALTER TABLE public.migration_log_id_seq RENAME TO former_migration_log_id_seq'
WHERE to_regclass('public.migration_log_id_seq') IS NOT NULL AND to_regclass('public.migration_log') IS NULL
UNION ALL
-- a table is a type as well; a type of several columns is in pg_class too, and taken for a table of another shape
SELECT
    'type public.' || t.typname,
    'has the name of a table to come',
    format('rename it: ALTER TYPE public.%1$I RENAME TO former_%1$s', t.typname)
FROM pg_type AS t
WHERE t.typnamespace = 'public'::regnamespace AND t.typrelid = 0
    AND t.typname IN ('organizations', 'user_organizations', 'migration_log')
UNION ALL
SELECT
    p.oid::regprocedure::text,
    'is there already, and the log does not say that Phase 1 created it',
    format('rename it: ALTER ROUTINE %s RENAME TO former_%s', p.oid::regprocedure, p.proname)
FROM pg_proc AS p
JOIN :functions_wanted AS wanted (name, arguments) ON wanted.name = p.proname
WHERE p.oid = to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))
    AND NOT 'create_' || wanted.name = ANY (:standing);

-- name: organizations_can_be_adopted
-- level: error
-- stage: preflight
-- each: organizations
SELECT
    'public.organizations' AS object,
    CASE WHEN name = 'Default Organization'
        THEN format('the name Default Organization belongs to the organization %s', slug)
        ELSE format('the id of the default organization belongs to the organization %s', slug) END AS problem,
    format('rename that one; or, where it is the default: UPDATE public.organizations SET slug = ''default-org'' '
        'WHERE slug = %L', slug) AS action
FROM public.organizations
WHERE NOT EXISTS (SELECT FROM public.organizations WHERE slug = 'default-org')
    AND (name = 'Default Organization' OR id = :'default_organization');

-- name: default_organization_is_active
-- level: warning
-- stage: preflight
-- each: organizations
SELECT
    'public.organizations' AS object,
    'the organization default-org is there already and is not active: the functions will deny everybody'
        AS problem,
    'UPDATE public.organizations SET is_active = true WHERE slug = ''default-org''' AS action
FROM public.organizations
WHERE slug = 'default-org' AND is_active IS NOT TRUE;

-- name: row_security_lets_the_owner_through
-- level: error
-- stage: preflight, rollback
SELECT
    'public.' || found.name AS object,
    format('has FORCE ROW LEVEL SECURITY, and %I cannot bypass it: the migration and its functions would not '
        'see every row', current_user) AS problem,
    format('ALTER TABLE public.%I NO FORCE ROW LEVEL SECURITY, or use a role with BYPASSRLS', found.name)
        AS action
FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS found
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name))
WHERE c.relforcerowsecurity AND row_security_active(c.oid);

-- name: row_type_is_not_a_column_type
-- level: error
-- stage: preflight
WITH RECURSIVE made_of (type, name) AS (
    SELECT c.reltype, found.name
    FROM :tables_found AS found (name, time_column)
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
    -- a table that has client_id already is not changed in a way that PostgreSQL would refuse
    WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'client_id')
    UNION
    SELECT further.type, made_of.name
    FROM made_of
    CROSS JOIN LATERAL (
        -- arrays, domains and ranges
        SELECT objid
        FROM pg_depend
        WHERE (classid, refclassid, refobjid) = ('pg_type'::regclass, 'pg_type'::regclass, made_of.type)
        UNION ALL
        -- what has several columns, and a type of its own
        SELECT c.reltype
        FROM pg_attribute AS a
        JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('c', 'v', 'f')
        WHERE a.atttypid = made_of.type
    ) AS further (type)
)
SELECT
    format('%s.%s', a.attrelid::regclass, a.attname) AS object,
    format('is of the row type of public.%s, which PostgreSQL therefore refuses to change', made_of.name) AS problem,
    format('change that column first, or leave the table out with --skip-table %s', made_of.name) AS action
FROM made_of
JOIN pg_attribute AS a ON a.atttypid = made_of.type
JOIN pg_class AS user_of_it ON user_of_it.oid = a.attrelid AND user_of_it.relkind IN ('r', 'm', 'p');

-- name: attribute_numbers_are_left
-- level: error
-- stage: preflight
SELECT
    'public.' || found.name AS object,
    format('has used up %s of the 1,600 columns that a table can ever have', c.relnatts) AS problem,
    'copy the table into a new one' AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
WHERE c.relnatts >= 1600
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'client_id');

-- name: few_attribute_numbers_are_left
-- level: warning
-- stage: preflight
SELECT
    'public.' || found.name AS object,
    format('has used up %s of the 1,600 columns that a table can ever have; each migration and rollback uses '
        'up one for good', c.relnatts) AS problem,
    'do not rehearse on this very table' AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
WHERE c.relnatts BETWEEN 1500 AND 1599;

-- name: uuids_can_be_generated
-- level: error
-- stage: preflight
SELECT
    'gen_random_uuid()' AS object,
    format('PostgreSQL 12 has none of its own, and %I may not create the extension pgcrypto', current_user)
        AS problem,
    'as a superuser, in this database: CREATE EXTENSION pgcrypto WITH SCHEMA public' AS action
WHERE NOT EXISTS (
        -- one that anybody else has made is not called with the rights of who inserts
        SELECT FROM pg_proc AS p JOIN pg_roles AS r ON r.oid = p.proowner
        WHERE p.proname = 'gen_random_uuid' AND p.pronargs = 0 AND (r.rolsuper OR r.rolname = current_user))
    AND NOT EXISTS (
        SELECT FROM pg_roles, pg_available_extensions AS e
        WHERE rolname = current_user AND rolsuper AND e.name = 'pgcrypto');

-- name: roles_exist
-- level: error
-- stage: preflight
SELECT
    'role ' || wanted.name AS object,
    'does not exist on this server' AS problem,
    'create it, or correct --grant-execute-to' AS action
FROM unnest(:grantees) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name);

-- name: named_roles_may_execute
-- level: warning
-- stage: preflight
SELECT
    p.oid::regprocedure::text AS object,
    format('was created before %I was named, and is not granted to it now: a step that is done is not run again',
        grantee.name) AS problem,
    format('GRANT EXECUTE ON FUNCTION %s TO %I', p.oid::regprocedure, grantee.name) AS action
FROM unnest(:grantees) AS grantee (name)
JOIN pg_roles AS r ON r.rolname = grantee.name
JOIN pg_proc AS p ON p.oid IN (
    to_regprocedure('public.get_user_organization_id(uuid)'), to_regprocedure('public.validate_client_access(uuid,uuid)'))
WHERE NOT has_function_privilege(r.oid, p.oid, 'EXECUTE');

-- name: service_role_bypasses_row_security
-- level: warning
-- stage: preflight
SELECT
    'role service_role' AS object,
    'is subject to row-level security and will see no organization and no membership' AS problem,
    'as a superuser: ALTER ROLE service_role BYPASSRLS' AS action
FROM pg_roles
WHERE rolname = 'service_role' AND NOT rolsuper AND NOT rolbypassrls;

-- name: functions_do_not_select_star
-- level: warning
-- stage: preflight
SELECT
    p.oid::regprocedure::text AS object,
    format('returns the columns of SELECT * from public.%s, and fails once that has one column more', found.name)
        AS problem,
    'name the columns in it before the migration' AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
JOIN pg_proc AS p
    ON p.prosrc ~* ('(\mselect\s+|\mdistinct\s+|\mall\s+|,\s*|\.)\*\s*(,[^;()]*)?\mfrom\M[^;()]*(\s|,|"?public"?\.)"?'
        || found.name || '\M')
JOIN pg_language AS l ON l.oid = p.prolang
JOIN pg_type AS t ON t.oid = p.prorettype
WHERE (p.proretset OR (l.lanname = 'sql' AND (t.typtype = 'c' OR t.oid = 'record'::regtype)))
    -- the row type of the table gets the column too
    AND p.prorettype <> c.reltype;

-- name: triggers_do_not_copy_whole_rows
-- level: warning
-- stage: preflight
SELECT DISTINCT
    p.oid::regprocedure::text AS object,
    format('is run by a trigger on public.%s and inserts the whole row, OLD.* or NEW.*: once that has one column more, '
        'every write that fires it fails (42601)', found.name) AS problem,
    'name the columns in it before the migration' AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
JOIN pg_trigger AS t
    ON t.tgrelid = c.oid OR t.tgrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = c.oid)
JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE t.tgenabled IN ('O', 'A')
    -- as values of their own: what a function makes of the row (to_jsonb(NEW.*)) grows with it
    AND p.prosrc ~* '\minsert\s+into\M[^;]*(\mselect\s+|\mvalues\s*\(\s*|,\s*)\(?\s*(new|old)\s*\)?\s*\.\s*\*'
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'client_id');

-- name: triggers_will_fire_on_the_fill
-- level: warning
-- stage: preflight
-- each: table with NULL in client_id
SELECT
    format('%s on public.%s', its.name, :'table') AS object,
    'is applied to the rows whose client_id is filled, since the column was there before; where it keeps a row from '
        'being updated, the migration stops there (23514)' AS problem,
    'see what it does to a row that is updated' AS action
FROM (
    SELECT 'trigger ' || tgname
    FROM pg_trigger
    WHERE tgrelid = to_regclass('public.' || quote_ident(:'table')) AND NOT tgisinternal AND tgenabled IN ('O', 'A')
        AND tgtype & 16 = 16
        -- UPDATE OF other columns does not fire
        AND (tgattr::text = '' OR EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = tgrelid AND attname = 'client_id' AND attnum = ANY (tgattr)))
    UNION ALL
    -- an event of 2 is an UPDATE
    SELECT 'rule ' || rulename
    FROM pg_rewrite
    WHERE ev_class = to_regclass('public.' || quote_ident(:'table')) AND ev_enabled IN ('O', 'A') AND ev_type = '2'
) AS its (name)
WHERE EXISTS (SELECT FROM public.:"table" WHERE client_id IS NULL);

-- name: filled_rows_can_be_published
-- level: error
-- stage: preflight, rollback
-- each: table that is filled or emptied
SELECT
    'public.' || :'table' AS object,
    format('publication %s carries it without a key to know its rows by: none can be updated (55000), and they are, '
        'where client_id was there before', p.pubname) AS problem,
    format('ALTER TABLE public.%I REPLICA IDENTITY FULL', :'table') AS action
FROM pg_class AS c
JOIN pg_publication_tables AS carried ON carried.schemaname = 'public' AND carried.tablename = c.relname
JOIN pg_publication AS p ON p.pubname = carried.pubname AND p.pubupdate
WHERE c.oid = to_regclass('public.' || quote_ident(:'table')) AND c.relreplident <> 'f'
    AND NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = c.oid
            AND CASE c.relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident ELSE FALSE END);

-- name: triggers_name_the_schema
-- level: warning
-- stage: preflight, rollback
SELECT
    p.oid::regprocedure::text AS object,
    format('is run by %s with an empty search_path, and names %s without its schema: it fails (42P01), and the run '
        'with it', string_agg(DISTINCT fired.by, ', '), string_agg(DISTINCT c.relname, ', ')) AS problem,
    format('name the schema in it, or ALTER FUNCTION %s SET search_path = %s', p.oid::regprocedure,
        string_agg(DISTINCT c.relnamespace::regnamespace::text, ', ')) AS action
FROM (
    SELECT evtfoid, 'event trigger ' || evtname
    FROM pg_event_trigger
    WHERE evtenabled IN ('O', 'A') AND evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop')
    UNION ALL
    -- no row is written but those of a client_id that was there before, and may have been NULL
    SELECT t.tgfoid, format('trigger %s on public.%s', t.tgname, found.name)
    FROM :tables_found AS found (name, time_column)
    JOIN pg_attribute AS a ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
    JOIN pg_trigger AS t ON t.tgrelid = a.attrelid AND t.tgenabled IN ('O', 'A')
    WHERE t.tgtype & 16 = 16 AND (t.tgattr::text = '' OR a.attnum = ANY (t.tgattr))
        AND 'add_client_id(' || found.name || ')' <> ALL (:standing)
        AND (NOT a.attnotnull OR 'require_client_id(' || found.name || ')' = ANY (:standing))
) AS fired (function, by)
JOIN pg_proc AS p ON p.oid = fired.function
CROSS JOIN LATERAL regexp_matches(p.prosrc, '\m(from|join|into|update|only)\s+"?(\w+)\M(?!"?\s*\.)', 'gi') AS word
JOIN pg_class AS c ON c.relname IN (word[2], lower(word[2])) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
WHERE NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search_path=%')
GROUP BY p.oid;

-- name: event_triggers_are_trusted
-- level: error
-- stage: preflight, rollback
SELECT
    'event trigger ' || e.evtname AS object,
    format('runs %s, which belongs to %I, at every step: it would run with the rights of %I',
        e.evtfoid::regprocedure, pg_get_userbyid(p.proowner), session_user) AS problem,
    CASE WHEN pg_has_role(p.proowner, :owner_of_users, 'MEMBER') THEN format('connect as %I', pg_get_userbyid(p.proowner))
        ELSE format('see what it does; as a superuser: ALTER EVENT TRIGGER %I DISABLE, or ALTER FUNCTION %s OWNER TO %I',
            e.evtname, e.evtfoid::regprocedure, pg_get_userbyid(:owner_of_users)) END AS action
FROM pg_event_trigger AS e
JOIN pg_proc AS p ON p.oid = e.evtfoid
WHERE e.evtenabled <> 'D' AND e.evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite')
    AND NOT pg_has_role(p.proowner, :trusted_with_code, 'MEMBER');

-- name: filled_rows_can_be_told
-- level: warning
-- stage: preflight
-- each: table with NULL in client_id
SELECT
    format('public.%s.client_id', :'table') AS object,
    format('%s rows belong to the default organization already; a rollback cannot tell them from those that '
        'Phase 1 fills, and will leave both as they are', count(*)) AS problem,
    'keep a copy of the key of the rows without a client, if it matters' AS action
FROM public.:"table"
WHERE client_id = :'default_organization' AND EXISTS (SELECT FROM public.:"table" WHERE client_id IS NULL)
    -- a run that was stopped has filled some itself, or its default has, and it knows
    AND NOT 'fill_client_id(' || :'table' || ')' = ANY (:standing)
    AND NOT 'set_client_id_default(' || :'table' || ')' = ANY (:standing)
HAVING count(*) > 0;

-- name: columns_are_not_granted_one_by_one
-- level: warning
-- stage: preflight
SELECT
    'public.' || found.name AS object,
    format('is granted to %s column by column: without client_id its SELECT * and COPY will be refused (42501)',
        CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END) AS problem,
    format('after the migration: GRANT SELECT (client_id) ON public.%I TO %s', found.name,
        CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END) AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL aclexplode(a.attacl) AS acl
WHERE acl.privilege_type = 'SELECT'
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'client_id')
    AND NOT EXISTS (
        SELECT FROM aclexplode(c.relacl) AS whole
        WHERE whole.privilege_type = 'SELECT' AND whole.grantee IN (0, acl.grantee))
GROUP BY c.oid, found.name, acl.grantee
-- who sees some columns only never said SELECT *
HAVING count(*) = (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped);

-- name: publications_carry_no_tenant_table
-- level: warning
-- stage: preflight
SELECT
    'publication ' || p.pubname AS object,
    format('carries public.%s: its subscribers stop at the first row with client_id', found.name) AS problem,
    'add client_id on the subscribers first' AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_publication_tables AS p ON p.schemaname = 'public' AND p.tablename = found.name
WHERE NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('public.' || found.name) AND attname = 'client_id')
    -- since PostgreSQL 15 a publication may name the columns that it carries
    AND NOT EXISTS (
        SELECT FROM pg_publication_rel AS r
        JOIN pg_publication AS its ON its.oid = r.prpubid
        WHERE its.pubname = p.pubname AND r.prrelid = to_regclass('public.' || found.name)
            AND to_jsonb(r) ->> 'prattrs' IS NOT NULL);

-- name: publications_of_everything_are_expected
-- level: warning
-- stage: preflight
SELECT
    'publication ' || p.pubname AS object,
    format('carries every table of schema public, and so %s as soon as they are there: its subscribers stop at the '
        'first row of them', missing.names) AS problem,
    'create them on the subscribers before the migration, empty, as --dry-run shows them; after it: ALTER SUBSCRIPTION '
        '... REFRESH PUBLICATION' AS action
FROM pg_publication AS p
CROSS JOIN (
    SELECT string_agg('public.' || name, ', ') AS names
    FROM (VALUES ('organizations'), ('user_organizations'), ('migration_log')) AS new (name)
    WHERE to_regclass('public.' || name) IS NULL
) AS missing
WHERE missing.names IS NOT NULL
    -- pg_publication_namespace came with PostgreSQL 15; what is in it depends on the schema and on the publication
    AND (p.puballtables OR EXISTS (
        SELECT FROM pg_depend AS its
        JOIN pg_depend AS schema ON (schema.classid, schema.objid, schema.refclassid, schema.refobjid)
            = (its.classid, its.objid, 'pg_namespace'::regclass, 'public'::regnamespace)
        WHERE (its.classid, its.refclassid, its.refobjid)
            = (to_regclass('pg_catalog.pg_publication_namespace'), 'pg_publication'::regclass, p.oid)));

-- name: transactions_are_short
-- level: warning
-- stage: preflight, rollback
SELECT
    format('process %s (%s, %s)', pid, usename, coalesce(nullif(application_name, ''), 'no application name'))
        AS object,
    format('has been in a transaction for %s s, state %s: %s', round(extract(EPOCH FROM now() - xact_start)),
        state, :query_without_literals) AS problem,
    format('let it end, or end it: SELECT pg_terminate_backend(%s)', pid) AS action
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start < now() - INTERVAL '5 s'
    AND backend_type = 'client backend';

-- name: transactions_can_be_seen
-- level: warning
-- stage: preflight, rollback
SELECT
    format('process %s (%s, %s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name'))
        AS object,
    format('has a lock on %s, or waits for one; how long it has been in its transaction, %I may not see',
        string_agg(DISTINCT 'public.' || found.name, ', '), current_user) AS problem,
    format('look again; if it is still there, as a superuser: GRANT pg_read_all_stats TO %I', current_user) AS action
FROM (
    SELECT name FROM :tables_found AS found (name, time_column)
    UNION ALL
    SELECT name FROM :partitions AS part (name)
) AS found
JOIN pg_locks AS l
    ON l.relation = to_regclass('public.' || quote_ident(found.name))
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
JOIN pg_stat_activity AS a ON a.pid = l.pid
-- NULL where the rest of the row is hidden; autovacuum, which is nobody's, is not what this is about
WHERE a.backend_type IS NULL AND a.usesysid IS NOT NULL
GROUP BY a.pid, a.usename, a.application_name;

-- name: prepared_transactions_hold_no_lock
-- level: error
-- stage: preflight, rollback
SELECT
    'prepared transaction ' || quote_literal(p.gid) AS object,
    format('holds %s on public.%s until somebody ends it', l.mode, found.name) AS problem,
    format('COMMIT PREPARED %1$L or ROLLBACK PREPARED %1$L, as %2$I', p.gid, p.owner) AS action
FROM pg_prepared_xacts AS p
-- a transaction's locks have its virtualtransaction in common; a prepared one has no process
JOIN pg_locks AS own ON own.transactionid = p.transaction
JOIN pg_locks AS l ON l.pid IS NULL AND l.virtualtransaction = own.virtualtransaction
JOIN :tables_found AS found (name, time_column) ON l.relation = to_regclass('public.' || found.name)
WHERE p.database = current_database();

-- name: indexes_of_the_table_are_valid
-- level: warning
-- stage: preflight
SELECT
    'index ' || i.indexrelid::regclass::text AS object,
    format('on public.%s is invalid: it costs every write and serves no query', found.name) AS problem,
    CASE WHEN c.relname = ANY (ARRAY(SELECT w.name FROM :indexes_wanted AS w (name, table_name, columns, literals)))
        THEN CASE c.relkind WHEN 'I' THEN 'nothing to do: it is valid with the last of its parts, which are built'
            ELSE 'nothing to do: it is dropped and built again' END
        WHEN c.relkind = 'I' THEN format('build it on each partition that lacks it, and attach that: ALTER INDEX %s '
            'ATTACH PARTITION ...', i.indexrelid::regclass)
        ELSE format('REINDEX INDEX CONCURRENTLY %s', i.indexrelid::regclass) END AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_index AS i ON i.indrelid = to_regclass('public.' || found.name)
JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE NOT (i.indisvalid AND i.indisready);

-- name: nothing_depends_on_what_is_dropped
-- level: error
-- stage: rollback
-- Materialized: a name is looked up once, and not for each row of the catalog.
WITH found AS MATERIALIZED (
    SELECT name, to_regclass('public.' || name)::oid AS oid, name || '_client_id_fkey' AS foreign_key
    FROM :tables_found AS found (name, time_column)
    UNION ALL
    SELECT tenant_table, to_regclass('public.' || quote_ident(name))::oid, foreign_key
    FROM :partitions AS part (name, tenant_table, foreign_key)
),
new AS MATERIALIZED (
    SELECT name, to_regclass('public.' || name)::oid AS oid
    FROM (VALUES ('organizations'), ('user_organizations')) AS new (name)
),
dropped AS (
    SELECT 'pg_class'::regclass AS classid, a.attrelid AS objid, a.attnum::int AS objsubid
    FROM found
    JOIN pg_attribute AS a ON a.attrelid = found.oid AND a.attname = 'client_id'
    WHERE format('add_client_id(%s)', found.name) = ANY (:standing)
    UNION ALL
    SELECT 'pg_class'::regclass, oid, NULL FROM new WHERE 'create_' || name = ANY (:standing)
    UNION ALL
    SELECT 'pg_type'::regclass, c.reltype, NULL
    FROM new JOIN pg_class AS c USING (oid)
    WHERE 'create_' || name = ANY (:standing)
    UNION ALL
    SELECT 'pg_proc'::regclass, to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments)), NULL
    -- a function that is not ours has been refused before
    FROM :functions_wanted AS wanted (name, arguments)
),
-- what Phase 1 created itself, with what belongs to it
ours AS MATERIALIZED (
    SELECT 'pg_class'::regclass AS classid, to_regclass('public.' || w.name)::oid AS objid
    FROM :indexes_wanted AS w (name, table_name, columns, literals)
    UNION ALL
    SELECT 'pg_class'::regclass, to_regclass('public.' || quote_ident(w.name))::oid
    FROM :partition_indexes AS w (name)
    UNION ALL
    SELECT 'pg_constraint'::regclass, c.oid
    FROM pg_constraint AS c
    JOIN found ON c.conrelid = found.oid
    LEFT JOIN pg_constraint AS whole ON whole.oid = c.conparentid
    WHERE c.conname IN (found.foreign_key, 'phase_1_client_id_check')
        OR whole.conname = found.name || '_client_id_fkey'
        OR (c.contype = 'n' AND c.conkey = ARRAY[(
            SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = c.conrelid AND a.attname = 'client_id')])
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid
    FROM pg_policy AS p
    JOIN found ON p.polrelid = found.oid
    WHERE p.polname LIKE 'phase\_1\_client\_pinned%'
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid
    FROM pg_attrdef AS d
    JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attname = 'client_id'
    UNION ALL
    SELECT c.classid, c.objid FROM (
        SELECT 'pg_class'::regclass AS classid, oid AS objid, oid AS relation FROM pg_class
        UNION ALL SELECT 'pg_class'::regclass, indexrelid, indrelid FROM pg_index
        UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid FROM pg_constraint
        UNION ALL SELECT 'pg_attrdef'::regclass, oid, adrelid FROM pg_attrdef
        UNION ALL SELECT 'pg_trigger'::regclass, oid, tgrelid FROM pg_trigger
        UNION ALL SELECT 'pg_type'::regclass, oid, typrelid FROM pg_type
        UNION ALL SELECT 'pg_type'::regclass, typarray, typrelid FROM pg_type
        UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid FROM pg_policy WHERE polname = 'phase_1_denied'
    ) AS c
    WHERE c.relation IN (SELECT oid FROM new)
    -- those of the new tables among the toast tables, and their triggers on other tables
    UNION ALL
    SELECT 'pg_class'::regclass, reltoastrelid FROM pg_class
    UNION ALL
    SELECT 'pg_trigger'::regclass, oid FROM pg_trigger WHERE tgisinternal
)
SELECT DISTINCT
    pg_describe_object(
        coalesce(view.classid, d.classid), coalesce(view.objid, d.objid),
        CASE WHEN view.objid IS NULL THEN d.objsubid ELSE 0 END) AS object,
    format('was built on %s', pg_describe_object(dropped.classid, dropped.objid, coalesce(dropped.objsubid, 0)))
        AS problem,
    'drop it, or change it so that it does without, and run the rollback again' AS action
FROM dropped
JOIN pg_depend AS d
    ON d.refclassid = dropped.classid AND d.refobjid = dropped.objid
    AND (dropped.objsubid IS NULL OR d.refobjsubid = dropped.objsubid)
-- a view depends through its rewrite rule
LEFT JOIN LATERAL (
    SELECT 'pg_class'::regclass AS classid, r.ev_class AS objid
    FROM pg_rewrite AS r
    WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
) AS view ON TRUE
WHERE NOT EXISTS (SELECT FROM ours WHERE ours.classid = d.classid AND ours.objid = d.objid);

-- name: nothing_of_phase_1_is_left_elsewhere
-- level: error
-- stage: rollback
SELECT
    c.oid::regclass::text AS object,
    'has a client_id of Phase 1, and is neither a tenant table nor a partition of one any more: the rollback would leave '
        'it there' AS problem,
    format('make it again what it was, or take from it what belongs to Phase 1: %sALTER TABLE %s DROP COLUMN client_id',
        (SELECT string_agg(format('DROP POLICY %I ON %s; ', polname, c.oid::regclass), '')
            FROM pg_policy WHERE polrelid = c.oid AND polname LIKE 'phase\_1\_client\_pinned%'),
        c.oid::regclass) AS action
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'client_id'
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p')
    AND NOT EXISTS (
        SELECT FROM (
            SELECT name FROM :tables_found AS found (name) UNION ALL SELECT name FROM :partitions AS part (name)
        ) AS known
        WHERE c.oid = to_regclass('public.' || quote_ident(known.name)))
    AND (EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname LIKE 'phase\_1\_client\_pinned%')
        OR format('add_client_id_foreign_key(%s)', c.relname) = ANY (:standing)
        -- an organization that was there before may be the default of other tables
        OR ('create_default_organization' = ANY (:standing)
            AND pg_get_expr(d.adbin, d.adrelid) = quote_literal(:'default_organization') || '::uuid'));

-- name: nothing_refers_to_the_default_organization
-- level: error
-- stage: rollback
-- each: foreign key to the default organization
SELECT
    format('constraint %s on %I.%I', :'constraint', :'schema', :'table') AS object,
    format('%s rows refer to the default organization, which the rollback deletes: %s', count(*), :'definition')
        AS problem,
    format('give them to another organization, or delete them, and run the rollback again: SELECT * FROM %I.%I '
        'WHERE (%s) = (SELECT %s FROM public.organizations WHERE id = %L)',
        :'schema', :'table', :'columns_text', :'referred_text', :'default_organization') AS action
FROM :"schema".:"table"
WHERE (:columns) = (SELECT :referred FROM public.organizations WHERE id = :'default_organization')
    -- an organization that is its own parent keeps nobody
    AND (tableoid, ctid) <> (SELECT tableoid, ctid FROM public.organizations WHERE id = :'default_organization')
HAVING count(*) > 0;

-- name: kept_client_id_can_be_emptied
-- level: error
-- stage: rollback
-- each: table whose client_id was required
SELECT
    format('public.%s.client_id', :'table') AS object,
    format('%s rows belong to an organization that the rollback deletes, and the column, which was NOT NULL before '
        'Phase 1 and stays, takes no NULL', count(*)) AS problem,
    format('let the rollback set them to NULL: ALTER TABLE public.%I ALTER COLUMN client_id DROP NOT NULL; or give '
        'them to an organization that stays', :'table') AS action
FROM public.:"table"
WHERE :belongs_to_deleted
HAVING count(*) > 0;

-- name: log_is_only_ours
-- level: error
-- stage: rollback
-- each: log that is dropped
SELECT
    'public.migration_log' AS object,
    concat_ws(', and ',
        CASE WHEN made = 0 THEN 'was there before Phase 1' END,
        'has ' || others || ' entries of ' || phases) AS problem,
    'leave --purge-log out: the rollback leaves the log as it is' AS action
FROM (
    SELECT
        count(*) FILTER (WHERE phase = 'phase_1' AND operation = 'create_migration_log') AS made,
        count(*) FILTER (WHERE phase <> 'phase_1') AS others,
        string_agg(DISTINCT phase, ', ') FILTER (WHERE phase <> 'phase_1') AS phases
    FROM :log AS log
) AS entries
WHERE to_regclass('public.migration_log') IS NOT NULL AND (made = 0 OR others > 0);

-- name: log_says_what_was_done
-- level: error
-- stage: rollback
SELECT
    'public.migration_log' AS object,
    'does not say that Phase 1 did anything here, but ' || what.is_there AS problem,
    'restore the log from a backup; without it nobody knows what was there before Phase 1' AS action
FROM (
    SELECT string_agg(name || ' is there', ', ' ORDER BY name) AS is_there
    -- organizations may have been there before
    FROM (
        SELECT to_regclass('public.user_organizations')::text
        UNION ALL
        SELECT to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))::text
        FROM :functions_wanted AS wanted (name, arguments)
    ) AS new (name)
) AS what
WHERE cardinality(:standing) = 0 AND what.is_there IS NOT NULL;
