-- level: error
-- stage: rollback
-- each: log that is dropped
SELECT
    'public.migration_log' AS object,
    concat_ws(', and ',
        CASE WHEN made = 0 THEN 'was there before Phase 1' END,
        'has ' || others || ' entries of ' || phases) AS problem,
    'leave --purge-log out: the rollback leaves the log as it is' AS action
FROM (
    SELECT
        count(*) FILTER (WHERE phase = 'phase_1' AND operation = 'create_migration_log') AS made,
        count(*) FILTER (WHERE phase <> 'phase_1') AS others,
        string_agg(DISTINCT phase, ', ') FILTER (WHERE phase <> 'phase_1') AS phases
    FROM :log AS log
) AS entries
WHERE to_regclass('public.migration_log') IS NOT NULL AND (made = 0 OR others > 0);
