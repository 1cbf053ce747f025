-- level: warning
-- stage: preflight, rollback
SELECT
    format('process %s (%s, %s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name'))
        AS object,
    format('has a lock on %s, or waits for one; how long it has been in its transaction, %I may not see',
        string_agg(DISTINCT 'public.' || found.name, ', '), current_user) AS problem,
    format('look again; if it is still there, as a superuser: GRANT pg_read_all_stats TO %I', current_user) AS action
FROM (
    SELECT name FROM :tables_found AS found (name, time_column)
    UNION ALL
    SELECT name FROM :partitions AS part (name)
) AS found
JOIN pg_locks AS l
    ON l.relation = to_regclass('public.' || quote_ident(found.name))
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
JOIN pg_stat_activity AS a ON a.pid = l.pid
-- NULL where the rest of the row is hidden; autovacuum, which is nobody's, is not what this is about
WHERE a.backend_type IS NULL AND a.usesysid IS NOT NULL
GROUP BY a.pid, a.usename, a.application_name;
