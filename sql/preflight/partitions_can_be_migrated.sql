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
