-- level: warning
-- stage: preflight
SELECT
    p.oid::regprocedure::text AS object,
    format('was created before %I was named, and is not granted to it now: a step that is done is not run again',
        grantee.name) AS problem,
    format('GRANT EXECUTE ON FUNCTION %s TO %I', p.oid::regprocedure, grantee.name) AS action
FROM unnest(:grantees) AS grantee (name)
JOIN pg_roles AS r ON r.rolname = grantee.name
JOIN pg_proc AS p ON p.oid IN (
    to_regprocedure('public.get_user_organization_id(uuid)'), to_regprocedure('public.validate_client_access(uuid,uuid)'))
WHERE NOT has_function_privilege(r.oid, p.oid, 'EXECUTE');
