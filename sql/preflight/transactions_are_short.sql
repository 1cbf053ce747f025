-- level: warning
-- stage: preflight, rollback
SELECT
    format('process %s (%s, %s)', pid, usename, coalesce(nullif(application_name, ''), 'no application name'))
        AS object,
    format('has been in a transaction for %s s, state %s: %s', round(extract(EPOCH FROM now() - xact_start)),
        state, :query_without_literals) AS problem,
    format('let it end, or end it: SELECT pg_terminate_backend(%s)', pid) AS action
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start < now() - INTERVAL '5 s'
    AND backend_type = 'client backend';
