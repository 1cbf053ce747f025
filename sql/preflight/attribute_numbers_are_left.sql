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
