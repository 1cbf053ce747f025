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
