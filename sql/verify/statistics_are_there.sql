-- level: warning
-- stage: verify
SELECT
    format('public.%s.client_id', found.name) AS object,
    'has no statistics: the planner takes every client for a small one' AS problem,
    format('ANALYZE public.%I', found.name) AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
WHERE c.reltuples > 0
    AND NOT EXISTS (
        SELECT FROM pg_stats
        WHERE schemaname = 'public' AND tablename = found.name AND attname = 'client_id');
