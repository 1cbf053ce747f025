-- Phase 1: what is to be true afterwards.
--
-- Each check is one query that returns a row per violation: object, what is wrong, what to do. No rows, no
-- violation. Headers:
--   level  error (exit code 4), warning, or notice
--   stage  verify; also preflight, for what may be there already

-- name: new_objects_are_there
-- level: error
-- stage: verify
SELECT
    'public.' || wanted.name AS object,
    'there is no such ' || wanted.kind AS problem,
    CASE WHEN wanted.name = 'migration_log'
        THEN 'restore it from a backup: without it nobody knows what was there before Phase 1'
        ELSE 'run the migration again' END AS action
FROM (
    SELECT name, 'table' AS kind, to_regclass('public.' || name)::oid AS oid
    FROM (VALUES ('organizations'), ('user_organizations'), ('migration_log')) AS new (name)
    UNION ALL
    SELECT format('%s(%s)', name, arguments), 'function', to_regprocedure(format('public.%I(%s)', name, arguments))::oid
    FROM :functions_wanted AS new (name, arguments)
) AS wanted
WHERE wanted.oid IS NULL;

-- name: new_table_has_its_shape
-- level: error
-- stage: preflight, verify
WITH wanted (table_name, number, name, type, required, default_value) AS (
    VALUES
    ('organizations', 1, 'id', 'uuid', TRUE, 'gen_random_uuid()'),
    ('organizations', 2, 'name', 'text', TRUE, NULL),
    ('organizations', 3, 'slug', 'text', TRUE, NULL),
    ('organizations', 4, 'settings', 'jsonb', FALSE, '''{}''::jsonb'),
    ('organizations', 5, 'is_active', 'boolean', FALSE, 'true'),
    ('organizations', 6, 'created_at', 'timestamp with time zone', FALSE, 'now()'),
    ('organizations', 7, 'updated_at', 'timestamp with time zone', FALSE, 'now()'),
    ('user_organizations', 1, 'id', 'uuid', TRUE, 'gen_random_uuid()'),
    ('user_organizations', 2, 'user_id', 'uuid', TRUE, NULL),
    ('user_organizations', 3, 'organization_id', 'uuid', TRUE, NULL),
    ('user_organizations', 4, 'role', 'text', TRUE, '''member''::text'),
    ('user_organizations', 5, 'is_active', 'boolean', FALSE, 'true'),
    ('user_organizations', 6, 'created_at', 'timestamp with time zone', FALSE, 'now()'),
    ('user_organizations', 7, 'updated_at', 'timestamp with time zone', FALSE, 'now()'),
    ('migration_log', 1, 'id', 'bigint', TRUE, NULL),
    ('migration_log', 2, 'phase', 'text', TRUE, NULL),
    ('migration_log', 3, 'operation', 'text', TRUE, NULL),
    ('migration_log', 4, 'status', 'text', TRUE, NULL),
    ('migration_log', 5, 'details', 'jsonb', TRUE, '''{}''::jsonb'),
    ('migration_log', 6, 'created_at', 'timestamp with time zone', TRUE, 'clock_timestamp()')
),
present AS (
    SELECT
        c.relname AS table_name, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
        a.attnotnull AS required, pg_get_expr(d.adbin, d.adrelid) AS default_value
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.oid IN (
        to_regclass('public.organizations'), to_regclass('public.user_organizations'),
        to_regclass('public.migration_log'))
)
SELECT
    format('public.%s.%s', coalesce(wanted.table_name, present.table_name), coalesce(wanted.name, present.name))
        AS object,
    CASE WHEN present.name IS NULL THEN 'there is no such column'
        WHEN wanted.name IS NULL THEN 'is a column that Phase 1 does not know'
        ELSE format('is %s%s%s instead of %s%s%s',
            present.type, CASE WHEN present.required THEN ' NOT NULL' END, ' DEFAULT ' || present.default_value,
            wanted.type, CASE WHEN wanted.required THEN ' NOT NULL' END, ' DEFAULT ' || wanted.default_value)
    END AS problem,
    format('give it that shape, or rename the table: ALTER TABLE public.%1$I RENAME TO former_%1$s',
        coalesce(wanted.table_name, present.table_name)) AS action
FROM (
    SELECT w.* FROM wanted AS w
    WHERE to_regclass('public.' || w.table_name) IS NOT NULL
) AS wanted
FULL JOIN present ON present.table_name = wanted.table_name AND present.name = wanted.name
WHERE (present.type, present.required) IS DISTINCT FROM (wanted.type, wanted.required)
    -- pgcrypto's function on PostgreSQL 12 is shown with its schema
    OR regexp_replace(present.default_value, '^\w+\.gen_random_uuid', 'gen_random_uuid')
        IS DISTINCT FROM wanted.default_value;

-- name: new_table_has_its_constraints
-- level: error
-- stage: preflight, verify
WITH wanted (table_name, definition) AS (
    VALUES
    ('organizations', 'PRIMARY KEY (id)'),
    ('organizations', 'UNIQUE (name)'),
    ('organizations', 'UNIQUE (slug)'),
    ('user_organizations', 'PRIMARY KEY (id)'),
    ('user_organizations', 'UNIQUE (user_id, organization_id)'),
    ('user_organizations', 'FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE'),
    ('user_organizations', 'FOREIGN KEY (organization_id) REFERENCES organizations(id)'),
    ('migration_log', 'PRIMARY KEY (id)')
)
SELECT
    'public.' || wanted.table_name AS object,
    'has no constraint ' || wanted.definition AS problem,
    format('ALTER TABLE public.%I ADD %s', wanted.table_name, wanted.definition) AS action
FROM wanted
WHERE to_regclass('public.' || wanted.table_name) IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('public.' || wanted.table_name)
            -- whether a name is shown with its schema depends on the search_path
            AND replace(pg_get_constraintdef(oid), 'public.', '') = wanted.definition);

-- name: log_takes_known_states_only
-- level: error
-- stage: preflight, verify
SELECT
    'public.migration_log' AS object,
    'takes a status other than started, completed, failed, skipped' AS problem,
    'ALTER TABLE public.migration_log ADD CHECK (status IN (''started'', ''completed'', ''failed'', ''skipped''))'
        AS action
WHERE to_regclass('public.migration_log') IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('public.migration_log') AND contype = 'c'
            AND pg_get_constraintdef(oid) LIKE '%status = ANY%'
            AND ARRAY(
                SELECT m[1] FROM regexp_matches(pg_get_constraintdef(oid), '''([^'']*)''', 'g') AS m ORDER BY 1
            ) = ARRAY['completed', 'failed', 'skipped', 'started'])
UNION ALL
SELECT
    'public.migration_log.id',
    'is not a generated identity',
    'ALTER TABLE public.migration_log ALTER COLUMN id DROP DEFAULT; '
        -- PostgreSQL 12 takes no second sequence for a column
        || coalesce('DROP SEQUENCE ' || pg_get_serial_sequence(attrelid::regclass::text, attname) || '; ', '')
        || 'ALTER TABLE public.migration_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY; '
        'and then what this says of its sequence'
FROM pg_attribute
WHERE attrelid = to_regclass('public.migration_log') AND attname = 'id' AND attidentity = '';

-- name: log_numbers_go_on
-- level: error
-- stage: preflight, rollback, verify
-- each: log with a sequence
SELECT
    'public.migration_log.id' AS object,
    format('has got as far as %s, and its sequence would give %s to the next entry', log.number, sequence.number)
        AS problem,
    format('SELECT setval(%L, %s)', :'log_sequence', log.number) AS action
FROM (SELECT max(id) FROM public.migration_log) AS log (number)
CROSS JOIN (SELECT last_value + is_called::int FROM :log_sequence) AS sequence (number)
WHERE sequence.number <= log.number;

-- name: default_organization_is_there
-- level: error
-- stage: verify
-- each: organizations
SELECT
    'public.organizations' AS object,
    'has no organization with the slug default-org' AS problem,
    coalesce((
        SELECT format('give it back: UPDATE public.organizations SET slug = ''default-org'' WHERE slug = %L', slug)
        FROM public.organizations
        WHERE id = :'default_organization'
    ), 'run the migration again') AS action
WHERE NOT EXISTS (SELECT FROM public.organizations WHERE slug = 'default-org');

-- name: client_id_is_required_and_has_its_default
-- level: error
-- stage: verify
SELECT
    format('public.%s.client_id', found.name) AS object,
    CASE WHEN a.attnum IS NULL THEN 'there is no such column'
        WHEN a.atttypid <> 'uuid'::regtype THEN 'is not of type uuid'
        WHEN NOT a.attnotnull THEN 'may be NULL'
        ELSE format('has the default %s instead of the default organization',
            coalesce(pg_get_expr(d.adbin, d.adrelid), 'NULL')) END AS problem,
    CASE WHEN a.atttypid = 'uuid'::regtype AND a.attnotnull AND ours.it_was_set
        THEN format('ALTER TABLE public.%I ALTER COLUMN client_id SET DEFAULT %L', found.name, :'default_organization')
        ELSE 'run the migration again: it does what is missing' END AS action
FROM :tables_found AS found (name, time_column)
LEFT JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
CROSS JOIN LATERAL (
    SELECT ARRAY[format('add_client_id(%s)', found.name), format('set_client_id_default(%s)', found.name)] && :standing
) AS ours (it_was_set)
WHERE a.attnum IS NULL OR a.atttypid <> 'uuid'::regtype OR NOT a.attnotnull
    -- a default that Phase 1 has set and that is gone: default_is_gone
    OR (pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM quote_literal(:'default_organization') || '::uuid'
        AND NOT (d.oid IS NULL AND ours.it_was_set));

-- name: client_id_references_organizations
-- level: error
-- stage: verify
SELECT
    format('public.%s.client_id', found.name) AS object,
    CASE WHEN c.oid IS NULL THEN 'has no foreign key to organizations'
        -- PostgreSQL 18 lets a key be there and ask for nothing
        WHEN to_jsonb(c) ->> 'conenforced' = 'false' THEN 'has a foreign key that is not enforced'
        WHEN NOT c.convalidated THEN 'has a foreign key that was never validated'
        ELSE 'has a foreign key that does not restrict the deletion of an organization' END AS problem,
    CASE WHEN c.confdeltype <> 'r' OR to_jsonb(c) ->> 'conenforced' = 'false'
        THEN format('drop it and run the migration again: ALTER TABLE public.%I DROP CONSTRAINT %I', found.name, c.conname)
        ELSE 'run the migration again: it does what is missing' END AS action
FROM :tables_found AS found (name, time_column)
LEFT JOIN pg_constraint AS c
    ON c.conrelid = to_regclass('public.' || found.name)
    AND c.confrelid = to_regclass('public.organizations') AND c.conkey = ARRAY[(
        SELECT attnum FROM pg_attribute WHERE attrelid = c.conrelid AND attname = 'client_id')]
WHERE c.oid IS NULL OR NOT c.convalidated OR c.confdeltype <> 'r';

-- name: indexes_are_there
-- level: error
-- stage: verify
SELECT
    'public.' || wanted.name AS object,
    CASE WHEN i.indexrelid IS NULL THEN 'there is no such index on public.' || wanted.table_name
        WHEN NOT (i.indisvalid AND i.indisready) THEN 'is invalid: it costs every write and serves no query'
        ELSE 'is another index: ' || pg_get_indexdef(i.indexrelid) END AS problem,
    CASE WHEN i.indexrelid IS NULL OR NOT (i.indisvalid AND i.indisready)
        THEN 'run the migration again: it builds what is missing'
        ELSE format('drop it and run the migration again: DROP INDEX CONCURRENTLY public.%I', wanted.name)
    END AS action
FROM :indexes_wanted AS wanted (name, table_name, columns, literals)
LEFT JOIN pg_index AS i
    ON i.indexrelid = to_regclass('public.' || wanted.name)
    AND i.indrelid = to_regclass('public.' || wanted.table_name)
LEFT JOIN pg_class AS c ON c.oid = i.indexrelid
LEFT JOIN pg_am AS am ON am.oid = c.relam
WHERE NOT (i.indisvalid AND i.indisready)
    OR am.amname <> 'btree' OR i.indisunique
    OR i.indnatts <> cardinality(wanted.columns)
    -- an index that is not there has none
    OR wanted.columns <> ARRAY(
        SELECT a.attname || CASE i.indoption[k - 1] WHEN 0 THEN '' WHEN 3 THEN ' DESC' ELSE ' NULLS' END
        FROM generate_series(1, i.indnkeyatts) AS k
        LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]
        ORDER BY k)
    OR wanted.literals <> ARRAY(
        SELECT m[1] FROM regexp_matches(coalesce(pg_get_expr(i.indpred, i.indrelid), ''), '''([^'']*)''', 'g') AS m
        ORDER BY 1)
    OR pg_get_expr(i.indpred, i.indrelid) ~ '<>|NOT ';

-- name: foreign_keys_have_an_index
-- level: warning
-- stage: verify
SELECT
    format('constraint %s on %s', c.conname, c.conrelid::regclass) AS object,
    'has no index that leads with its columns: deleting an organization or a user reads the whole table' AS problem,
    'build the index that was left out' AS action
FROM pg_constraint AS c
WHERE c.contype = 'f'
    AND (c.confrelid = to_regclass('public.organizations')
        OR c.conrelid = to_regclass('public.user_organizations'))
    AND NOT EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = c.conkey[1]);

-- name: functions_are_hardened
-- level: error
-- stage: verify
SELECT
    'public.' || wanted.name AS object,
    CASE WHEN p.provolatile <> 's' THEN 'is not STABLE'
        WHEN p.prosecdef IS DISTINCT FROM wanted.definer
            THEN CASE WHEN p.prosecdef THEN 'is SECURITY DEFINER' ELSE 'is SECURITY INVOKER' END
        WHEN p.prorettype <> wanted.returns THEN 'returns ' || p.prorettype::regtype::text
        WHEN NOT coalesce(p.proconfig, '{}') @> wanted.settings
            THEN 'does not fix ' || array_to_string(wanted.settings, ', ')
        ELSE 'is not what the migration creates: its body, its language or STRICT differs' END AS problem,
    format('drop it and run the migration again: DROP FUNCTION %s', p.oid::regprocedure) AS action
FROM (
    VALUES
    ('get_user_organization_id', 'uuid', TRUE, 'uuid'::regtype, ARRAY['search_path=""']),
    ('validate_client_access', 'uuid, uuid', TRUE, 'boolean'::regtype, ARRAY['search_path=""']),
    ('validate_client_data_integrity', '', FALSE, 'jsonb'::regtype, ARRAY['search_path=""', 'row_security=off'])
) AS wanted (name, arguments, definer, returns, settings)
JOIN pg_proc AS p ON p.oid = to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))
JOIN :function_sources AS made (name, source) ON made.name = wanted.name
CROSS JOIN LATERAL (
    SELECT p.proisstrict OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
        -- which tables there are, another check asks
        OR made.source <> regexp_replace(p.prosrc, 'ARRAY\[[^]]*\]::pg_catalog\.text\[\]', 'ARRAY[]::pg_catalog.text[]', 'g')
) AS its (is_another)
WHERE its.is_another OR p.provolatile <> 's' OR p.prosecdef <> wanted.definer
    OR p.prorettype <> wanted.returns
    OR NOT coalesce(p.proconfig, '{}') @> wanted.settings;

-- name: functions_are_closed
-- level: error
-- stage: verify
SELECT
    p.oid::regprocedure::text AS object,
    format('may be executed by %s', CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END)
        AS problem,
    format('REVOKE EXECUTE ON FUNCTION %s FROM %s', p.oid::regprocedure,
        CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END)
        -- what is given takes the place of what the log remembers
        || CASE WHEN acl.grantee = 0 THEN '' ELSE ', or name every role that may: --grant-execute-to '
            || array_to_string(:grantees || pg_get_userbyid(acl.grantee)::text, ' --grant-execute-to ') END AS action
FROM :functions_wanted AS wanted (name, arguments)
JOIN pg_proc AS p ON p.oid = to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))
CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS acl
WHERE acl.grantee <> p.proowner
    AND (acl.grantee = 0 OR pg_get_userbyid(acl.grantee) <> ALL ('service_role'::text || :grantees));

-- name: new_tables_are_closed
-- level: error
-- stage: preflight, verify
SELECT
    c.oid::regclass::text AS object,
    format('%s may %s it', CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END,
        acl.privilege_type) AS problem,
    format('REVOKE ALL ON %s FROM %s', c.oid::regclass,
        CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END) AS action
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT grantee, privilege_type
    FROM aclexplode(c.relacl)
    UNION ALL
    SELECT col.grantee, col.privilege_type
    FROM pg_attribute AS a, aclexplode(a.attacl) AS col
    WHERE a.attrelid = c.oid
) AS acl
WHERE c.oid IN (
    to_regclass('public.organizations'), to_regclass('public.user_organizations'),
    to_regclass('public.migration_log'), to_regclass('public.migration_log_id_seq'))
    AND (acl.grantee = 0 OR pg_get_userbyid(acl.grantee) IN ('anon', 'authenticated'));

-- name: log_is_written_by_who_owns_the_tables
-- level: error
-- stage: preflight, rollback, verify
-- each: log that is gone by
SELECT
    'public.migration_log' AS object,
    format('%s may write to it, and with that says what a rollback undoes: by a grant, or by a trigger of its own',
        CASE WHEN writer.oid = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(writer.oid) END) AS problem,
    format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER ON public.migration_log FROM %s',
        CASE WHEN writer.oid = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(writer.oid)) END) AS action
FROM pg_class AS log
JOIN pg_class AS users ON users.oid = to_regclass('public.users')
CROSS JOIN LATERAL (
    SELECT DISTINCT acl.grantee
    FROM (
        SELECT log.relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = log.oid
    ) AS granted, aclexplode(granted.acl) AS acl
    WHERE acl.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
) AS writer (oid)
WHERE log.oid = to_regclass('public.migration_log')
    AND (writer.oid = 0 OR NOT pg_has_role(writer.oid, users.relowner, 'MEMBER'));

-- name: new_tables_have_row_security
-- level: error
-- stage: preflight, verify
SELECT
    c.oid::regclass::text AS object,
    CASE WHEN NOT c.relrowsecurity THEN 'has no row-level security'
        ELSE 'has no policy phase_1_denied that denies the roles of the web API' END AS problem,
    CASE WHEN NOT c.relrowsecurity THEN format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', c.oid::regclass)
        ELSE CASE WHEN EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'phase_1_denied')
            THEN format('DROP POLICY phase_1_denied ON %s; ', c.oid::regclass) ELSE '' END
            || format('CREATE POLICY phase_1_denied ON %s AS RESTRICTIVE FOR ALL TO %s USING (FALSE)',
                c.oid::regclass, :'denied_roles_text') END AS action
FROM pg_class AS c
WHERE c.oid IN (
    to_regclass('public.organizations'), to_regclass('public.user_organizations'),
    to_regclass('public.migration_log'))
    AND (NOT c.relrowsecurity OR NOT EXISTS (
        SELECT FROM pg_policy AS p
        WHERE p.polrelid = c.oid AND p.polname = 'phase_1_denied' AND NOT p.polpermissive AND p.polcmd = '*'
            AND pg_get_expr(p.polqual, p.polrelid) = 'false'
            AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'false') = 'false'
            AND (p.polroles = ARRAY[0::oid] OR p.polroles @> ARRAY(
                SELECT oid FROM pg_roles WHERE rolname IN ('anon', 'authenticated')))));

-- name: writes_are_pinned
-- level: error
-- stage: verify
SELECT
    format('public.%I', found.name) AS object,
    format('the roles of the web API may %s rows of any client', lower(wanted.command)) AS problem,
    CASE WHEN EXISTS (
        SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'phase_1_client_pinned' || wanted.suffix)
        THEN format('DROP POLICY phase_1_client_pinned%s ON public.%I; ', wanted.suffix, found.name) ELSE '' END
        || format('CREATE POLICY phase_1_client_pinned%s ON public.%I AS RESTRICTIVE FOR %s TO %s%s%s',
            wanted.suffix, found.name, wanted.command, api.names,
            CASE WHEN wanted.polcmd <> 'a' THEN format(' USING (client_id = %L)', :'default_organization') END,
            CASE WHEN wanted.polcmd <> 'd' THEN format(' WITH CHECK (client_id = %L)', :'default_organization') END)
    AS action
-- a partition has pins of its own: nobody is asked for those of its table who names the partition
FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS found
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name)) AND c.relrowsecurity
CROSS JOIN (VALUES ('INSERT', 'a', ''), ('UPDATE', 'w', '_update'), ('DELETE', 'd', '_delete'))
    AS wanted (command, polcmd, suffix)
CROSS JOIN LATERAL (
    SELECT array_agg(oid) AS oids, string_agg(rolname, ', ' ORDER BY rolname) AS names
    FROM pg_roles
    WHERE rolname IN ('anon', 'authenticated')
        -- Phase 2 replaces these policies with its own, which look at client_id as well
        AND format('%s %s %s', found.name, wanted.command, rolname) <> ALL (:isolated)
) AS api
WHERE api.oids IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_policy AS p
        WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polcmd::text = wanted.polcmd
            AND p.polroles @> api.oids
            AND (wanted.polcmd = 'a' OR pg_get_expr(p.polqual, p.polrelid)
                = format('(client_id = %L::uuid)', :'default_organization'))
            AND (wanted.polcmd = 'd' OR pg_get_expr(p.polwithcheck, p.polrelid)
                = format('(client_id = %L::uuid)', :'default_organization')));

-- name: statistics_are_there
-- level: warning
-- stage: verify
SELECT
    format('public.%s.client_id', found.name) AS object,
    'has no statistics: the planner takes every client for a small one' AS problem,
    format('ANALYZE public.%I', found.name) AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
WHERE c.reltuples > 0
    AND NOT EXISTS (
        SELECT FROM pg_stats
        WHERE schemaname = 'public' AND tablename = found.name AND attname = 'client_id');

-- name: clients_are_isolated
-- level: warning
-- stage: verify
-- each: organizations
WITH read_by_the_api AS (
    SELECT DISTINCT found.name
    FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS found
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name))
    JOIN pg_roles AS api ON api.rolname IN ('anon', 'authenticated')
    WHERE has_any_column_privilege(api.oid, c.oid, 'SELECT')
        AND (NOT c.relrowsecurity
            -- where no policy lets anybody read, row-level security shows no row
            OR (format('%s SELECT %s', found.name, api.rolname) <> ALL (:isolated)
                AND EXISTS (
                    SELECT FROM pg_policy AS p, unnest(p.polroles) AS r (oid)
                    WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('*', 'r')
                        AND (r.oid = 0 OR pg_has_role(api.oid, r.oid, 'USAGE')))))
)
SELECT
    'public.organizations' AS object,
    'there is more than one organization, and Phase 1 does not keep them apart: who may read a table reads '
        'the rows of every client'
        || coalesce((
            SELECT format(' (no policy keeps the web API to a client on: %s)', string_agg(name, ', ' ORDER BY name))
            FROM read_by_the_api
            HAVING count(*) > 0), '') AS problem,
    'do not give a second client access before Phase 2 (row-level security by client)' AS action
FROM public.organizations
WHERE cardinality(:isolated) = 0 OR EXISTS (SELECT FROM read_by_the_api)
HAVING count(*) > 1;

-- name: nothing_goes_around_the_pins
-- level: warning
-- stage: verify
-- each: organizations
WITH RECURSIVE api AS (
    SELECT oid, rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
),
-- a partition has grants and row-level security of its own
found (name, oid, secured) AS (
    SELECT name, c.oid, c.relrowsecurity
    FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS each
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(name))
),
-- the views over a table, and those over them, that ask for the rights of their owners
over (name, oid) AS (
    SELECT name, oid FROM found
    UNION
    SELECT over.name, v.oid
    FROM over
    JOIN pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = over.oid
    JOIN pg_rewrite AS r ON r.oid = d.objid
    JOIN pg_class AS v
        ON v.oid = r.ev_class AND v.relkind = 'v'
        -- since PostgreSQL 15 a view may ask for the rights of who uses it
        AND NOT EXISTS (
            SELECT FROM pg_options_to_table(v.reloptions)
            WHERE CASE option_name WHEN 'security_invoker' THEN option_value::boolean END)
)
SELECT
    'public.' || found.name AS object,
    format('%s may TRUNCATE it, the rows of every client with it: no policy is asked',
        string_agg(api.rolname, ', ' ORDER BY api.rolname)) AS problem,
    format('REVOKE TRUNCATE ON public.%I FROM %s', found.name, string_agg(api.rolname, ', ' ORDER BY api.rolname))
        AS action
FROM found
JOIN api ON has_table_privilege(api.oid, found.oid, 'TRUNCATE')
WHERE (SELECT count(*) > 1 FROM public.organizations)
GROUP BY found.name
UNION ALL
SELECT
    'public.' || found.name,
    format('%s may write rows of every client: it has no row-level security',
        string_agg(api.rolname, ', ' ORDER BY api.rolname)),
    format('REVOKE INSERT, UPDATE, DELETE ON public.%I FROM %s; or ENABLE ROW LEVEL SECURITY, with the policies that '
        'the application needs, and run the migration again', found.name,
        string_agg(api.rolname, ', ' ORDER BY api.rolname))
FROM found
JOIN api ON has_table_privilege(api.oid, found.oid, 'DELETE')
    OR has_any_column_privilege(api.oid, found.oid, 'INSERT, UPDATE')
WHERE (SELECT count(*) > 1 FROM public.organizations) AND NOT found.secured
GROUP BY found.name
UNION ALL
SELECT
    v.oid::regclass::text,
    format('%s may write public.%s through this view with the rights of %s: the policies for them are not asked',
        string_agg(api.rolname, ', ' ORDER BY api.rolname), over.name, pg_get_userbyid(v.relowner)),
    format('REVOKE INSERT, UPDATE, DELETE ON %s FROM %s', v.oid::regclass,
        string_agg(api.rolname, ', ' ORDER BY api.rolname))
FROM over
JOIN pg_class AS v ON v.oid = over.oid AND v.relkind = 'v'
JOIN api
    -- the bits of pg_relation_is_updatable: 4 UPDATE, 8 INSERT, 16 DELETE
    ON (pg_relation_is_updatable(v.oid, TRUE) & 4 = 4
        AND has_any_column_privilege(api.oid, v.oid, 'UPDATE'))
    OR (pg_relation_is_updatable(v.oid, TRUE) & 8 = 8
        AND has_any_column_privilege(api.oid, v.oid, 'INSERT'))
    OR (pg_relation_is_updatable(v.oid, TRUE) & 16 = 16 AND has_table_privilege(api.oid, v.oid, 'DELETE'))
WHERE (SELECT count(*) > 1 FROM public.organizations)
GROUP BY v.oid, v.relowner, over.name;

-- name: users_have_a_membership
-- level: warning
-- stage: verify
-- each: organizations
SELECT
    'public.user_organizations' AS object,
    format('%s users have no membership row at all and are taken for members of users.client_id', count(*))
        AS problem,
    'expected of users that the old application has added since; to take a user''s access away, set is_active '
        'to false instead of deleting the membership' AS action
FROM public.users AS u
WHERE NOT EXISTS (SELECT FROM public.user_organizations AS m WHERE m.user_id = u.id)
HAVING count(*) > 0;

-- name: default_is_gone
-- level: warning
-- stage: verify
SELECT
    format('public.%s.client_id', found.name) AS object,
    'has no default any more: an insert that does not name the client fails (23502), and the old application names none'
        AS problem,
    format('nothing to do where a later phase has dropped it; else give it back: '
        'ALTER TABLE public.%I ALTER COLUMN client_id SET DEFAULT %L', found.name, :'default_organization') AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id' AND NOT a.atthasdef
WHERE ARRAY[format('add_client_id(%s)', found.name), format('set_client_id_default(%s)', found.name)] && :standing;

-- name: default_is_still_there
-- level: notice
-- stage: verify
SELECT
    'client_id' AS object,
    'has the default organization as its default, so that the old application goes on working' AS problem,
    'nothing to do now; a later phase drops it, once the application names the client' AS action
WHERE EXISTS (
    SELECT
    FROM :tables_found AS found (name, time_column)
    JOIN pg_attribute AS a ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
    WHERE a.atthasdef);
