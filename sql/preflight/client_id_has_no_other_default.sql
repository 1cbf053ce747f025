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
