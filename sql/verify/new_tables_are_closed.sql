-- level: error
-- stage: preflight, verify
SELECT
    c.oid::regclass::text AS object,
    format('%s may %s it', CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END,
        acl.privilege_type) AS problem,
    format('REVOKE ALL ON %s FROM %s', c.oid::regclass,
        CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END) AS action
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT grantee, privilege_type
    FROM aclexplode(c.relacl)
    UNION ALL
    SELECT col.grantee, col.privilege_type
    FROM pg_attribute AS a, aclexplode(a.attacl) AS col
    WHERE a.attrelid = c.oid
) AS acl
WHERE c.oid IN (
    to_regclass('public.organizations'), to_regclass('public.user_organizations'),
    to_regclass('public.migration_log'), to_regclass('public.migration_log_id_seq'))
    AND (acl.grantee = 0 OR pg_get_userbyid(acl.grantee) IN ('anon', 'authenticated'));
