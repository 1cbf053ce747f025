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
