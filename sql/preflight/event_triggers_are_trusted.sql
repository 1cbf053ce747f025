-- level: error
-- stage: preflight, rollback
SELECT
    'event trigger ' || e.evtname AS object,
    format('runs %s, which belongs to %I, at every step: it would run with the rights of %I',
        e.evtfoid::regprocedure, pg_get_userbyid(p.proowner), session_user) AS problem,
    CASE WHEN pg_has_role(p.proowner, :owner_of_users, :rights) THEN 'run it as the owner of the tables, not as a superuser'
        ELSE format('see what it does; then, as a superuser: ALTER EVENT TRIGGER %I DISABLE', e.evtname) END AS action
FROM pg_event_trigger AS e
JOIN pg_proc AS p ON p.oid = e.evtfoid
WHERE e.evtenabled <> 'D' AND e.evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite')
    AND NOT pg_has_role(p.proowner, :trusted_with_code, :rights);
