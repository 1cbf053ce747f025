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
