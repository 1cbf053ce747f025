-- level: error
-- stage: verify
SELECT
    'public.' || wanted.name AS object,
    CASE WHEN p.provolatile <> 's' THEN 'is not STABLE'
        WHEN p.prosecdef IS DISTINCT FROM wanted.definer
            THEN CASE WHEN p.prosecdef THEN 'is SECURITY DEFINER' ELSE 'is SECURITY INVOKER' END
        WHEN p.prorettype <> wanted.returns THEN 'returns ' || p.prorettype::regtype::text
        WHEN NOT coalesce(p.proconfig, '{}') @> wanted.settings
            THEN 'does not fix ' || array_to_string(wanted.settings, ', ')
        ELSE 'is not what the migration creates: its body, its language or STRICT differs' END AS problem,
    format('drop it and run the migration again: DROP FUNCTION %s', p.oid::regprocedure) AS action
FROM (
    VALUES
    ('get_user_organization_id', 'uuid', TRUE, 'uuid'::regtype, ARRAY['search_path=""']),
    ('validate_client_access', 'uuid, uuid', TRUE, 'boolean'::regtype, ARRAY['search_path=""']),
    ('validate_client_data_integrity', '', FALSE, 'jsonb'::regtype, ARRAY['search_path=""', 'row_security=off'])
) AS wanted (name, arguments, definer, returns, settings)
JOIN pg_proc AS p ON p.oid = to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))
JOIN :function_sources AS made (name, source) ON made.name = wanted.name
CROSS JOIN LATERAL (
    SELECT p.proisstrict OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
        -- which tables there are, another check asks
        OR made.source <> regexp_replace(p.prosrc, 'ARRAY\[[^]]*\]::pg_catalog\.text\[\]', 'ARRAY[]::pg_catalog.text[]', 'g')
) AS its (is_another)
WHERE its.is_another OR p.provolatile <> 's' OR p.prosecdef <> wanted.definer
    OR p.prorettype <> wanted.returns
    OR NOT coalesce(p.proconfig, '{}') @> wanted.settings;
