-- level: warning
-- stage: preflight
SELECT
    'public.' || found.name AS object,
    format('is granted to %s column by column: without client_id its SELECT * and COPY will be refused (42501)',
        CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END) AS problem,
    format('after the migration: GRANT SELECT (client_id) ON public.%I TO %s', found.name,
        CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END) AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL aclexplode(a.attacl) AS acl
WHERE acl.privilege_type = 'SELECT'
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'client_id')
    AND NOT EXISTS (
        SELECT FROM aclexplode(c.relacl) AS whole
        WHERE whole.privilege_type = 'SELECT' AND whole.grantee IN (0, acl.grantee))
GROUP BY c.oid, found.name, acl.grantee
-- who sees some columns only never said SELECT *
HAVING count(*) = (SELECT count(*) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped);
