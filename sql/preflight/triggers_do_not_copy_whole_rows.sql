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
