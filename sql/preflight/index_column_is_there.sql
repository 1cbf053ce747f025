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
