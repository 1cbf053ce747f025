-- level: error
-- stage: preflight
SELECT
    'schema public' AS object,
    format('%I may not create tables and functions in it', current_user) AS problem,
    format('as its owner: GRANT USAGE, CREATE ON SCHEMA public TO %I', current_user) AS action
FROM pg_namespace
WHERE nspname = 'public' AND NOT (has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE'));
