-- level: error
-- stage: preflight
-- each: table with client_id
SELECT
    'public.' || :'table' AS object,
    format('%s rows belong to other organizations than the default one, and %s, which may write them today, could not '
        'once it is kept to that one (%s)', others.rows, writing.roles, writing.commands) AS problem,
    format('where the policies of the application keep them to their client, say so in one that looks at it, and Phase '
        '1 leaves them to it: CREATE POLICY of_client ON public.%I AS RESTRICTIVE TO %s USING (client_id = ...)',
        :'table', writing.roles)
        || CASE WHEN :'table' = 'users' THEN ''
        ELSE format('; or leave the table out on purpose with --skip-table %s', :'table') END AS action
FROM (
    SELECT
        string_agg(DISTINCT api.rolname, ', ') AS roles, string_agg(DISTINCT command.name, ', ') AS commands
    FROM pg_class AS c
    JOIN pg_policy AS p ON p.polrelid = c.oid AND p.polpermissive
    JOIN (VALUES ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) AS command (name, letter)
        ON p.polcmd::text IN ('*', command.letter)
    JOIN pg_roles AS api
        ON api.rolname IN ('anon', 'authenticated')
        AND EXISTS (
            SELECT FROM unnest(p.polroles) AS r (oid) WHERE r.oid = 0 OR pg_has_role(api.oid, r.oid, 'USAGE'))
        AND format('%s %s %s', c.relname, command.name, api.rolname) <> ALL (:isolated)
        AND CASE WHEN command.name = 'DELETE' THEN has_table_privilege(api.oid, c.oid, 'DELETE')
            ELSE has_any_column_privilege(api.oid, c.oid, command.name) END
    WHERE c.oid = to_regclass('public.' || quote_ident(:'table')) AND c.relrowsecurity
) AS writing
CROSS JOIN LATERAL (
    SELECT count(*) AS rows
    FROM public.:"table"
    WHERE client_id <> :'default_organization' AND writing.roles IS NOT NULL
) AS others
WHERE others.rows > 0
    -- afterwards a second client is what --verify speaks of
    AND NOT ARRAY['add_client_id(' || :'table' || ')', 'pin_client(' || :'table' || ')'] && :standing;
