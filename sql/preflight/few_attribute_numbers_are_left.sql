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
