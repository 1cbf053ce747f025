-- level: error
-- stage: rollback
SELECT
    p.oid::regprocedure::text AS object,
    format('belongs to %I, and only with the rights of that role can it be dropped', pg_get_userbyid(p.proowner))
        AS problem,
    format('connect as %I; or, as that role: ALTER FUNCTION %s OWNER TO %I', pg_get_userbyid(p.proowner),
        p.oid::regprocedure, current_user) AS action
FROM :functions_wanted AS wanted (name, arguments)
JOIN pg_proc AS p ON p.oid = to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))
WHERE 'create_' || wanted.name = ANY (:standing) AND NOT pg_has_role(p.proowner, 'USAGE')
UNION ALL
SELECT
    'extension ' || extname,
    format('belongs to %I, and only with the rights of that role can it be dropped', pg_get_userbyid(extowner)),
    format('connect as %I', pg_get_userbyid(extowner))
FROM pg_extension
WHERE extname = 'pgcrypto' AND 'create_pgcrypto' = ANY (:standing) AND NOT pg_has_role(extowner, 'USAGE');
