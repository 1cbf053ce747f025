-- level: error
-- stage: verify
SELECT
    p.oid::regprocedure::text AS object,
    format('may be executed by %s', CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(acl.grantee) END)
        AS problem,
    format('REVOKE EXECUTE ON FUNCTION %s FROM %s', p.oid::regprocedure,
        CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END)
        -- what is given takes the place of what the log remembers
        || CASE WHEN acl.grantee = 0 THEN '' ELSE ', or name every role that may: --grant-execute-to '
            || array_to_string(:grantees || pg_get_userbyid(acl.grantee)::text, ' --grant-execute-to ') END AS action
FROM :functions_wanted AS wanted (name, arguments)
JOIN pg_proc AS p ON p.oid = to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))
CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS acl
WHERE acl.grantee <> p.proowner
    AND (acl.grantee = 0 OR pg_get_userbyid(acl.grantee) <> ALL ('service_role'::text || :grantees));
