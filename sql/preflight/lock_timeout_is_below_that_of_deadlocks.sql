-- level: warning
-- stage: preflight, rollback
SELECT
    '--lock-timeout' AS object,
    format('%s is not below deadlock_timeout, %s ms: where the application and the run wait for each other, the '
        'application''s statement may be the one that is cancelled (40P01)', :'lock_timeout', setting) AS problem,
    'leave it out, or give less; a longer one is for autovacuum, which goes only after deadlock_timeout' AS action
FROM pg_settings
WHERE name = 'deadlock_timeout' AND setting::int * interval '1 ms' <= :'lock_timeout'::interval;
