-- level: error
-- stage: rollback
SELECT
    'public.migration_log' AS object,
    'does not say that Phase 1 did anything here, but ' || what.is_there AS problem,
    'restore the log from a backup; without it nobody knows what was there before Phase 1' AS action
FROM (
    SELECT string_agg(name || ' is there', ', ' ORDER BY name) AS is_there
    -- organizations may have been there before
    FROM (
        SELECT to_regclass('public.user_organizations')::text
        UNION ALL
        SELECT to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))::text
        FROM :functions_wanted AS wanted (name, arguments)
    ) AS new (name)
) AS what
WHERE cardinality(:standing) = 0 AND what.is_there IS NOT NULL;
