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
