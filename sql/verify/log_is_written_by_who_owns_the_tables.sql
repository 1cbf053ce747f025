-- level: error
-- stage: preflight, rollback, verify
-- each: log that is gone by
SELECT
    'public.migration_log' AS object,
    format('%s may write to it, and with that says what a rollback undoes: by a grant, or by a trigger of its own',
        CASE WHEN writer.oid = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(writer.oid) END) AS problem,
    format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER ON public.migration_log FROM %s',
        CASE WHEN writer.oid = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(writer.oid)) END) AS action
FROM pg_class AS log
JOIN pg_class AS users ON users.oid = to_regclass('public.users')
CROSS JOIN LATERAL (
    SELECT DISTINCT acl.grantee
    FROM (
        SELECT log.relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = log.oid
    ) AS granted, aclexplode(granted.acl) AS acl
    WHERE acl.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
) AS writer (oid)
WHERE log.oid = to_regclass('public.migration_log')
    AND (writer.oid = 0 OR NOT pg_has_role(writer.oid, users.relowner, :rights));
