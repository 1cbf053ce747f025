-- level: error
-- stage: verify
SELECT
    format('public.%I', found.name) AS object,
    format('the roles of the web API may %s rows of any client', lower(wanted.command)) AS problem,
    CASE WHEN EXISTS (
        SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'phase_1_client_pinned' || wanted.suffix)
        THEN format('DROP POLICY phase_1_client_pinned%s ON public.%I; ', wanted.suffix, found.name) ELSE '' END
        || format('CREATE POLICY phase_1_client_pinned%s ON public.%I AS RESTRICTIVE FOR %s TO %s%s%s',
            wanted.suffix, found.name, wanted.command, api.names,
            CASE WHEN wanted.polcmd <> 'a' THEN format(' USING (client_id = %L)', :'default_organization') END,
            CASE WHEN wanted.polcmd <> 'd' THEN format(' WITH CHECK (client_id = %L)', :'default_organization') END)
    AS action
-- a partition has pins of its own: nobody is asked for those of its table who names the partition
FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS found
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name)) AND c.relrowsecurity
CROSS JOIN (VALUES ('INSERT', 'a', ''), ('UPDATE', 'w', '_update'), ('DELETE', 'd', '_delete'))
    AS wanted (command, polcmd, suffix)
CROSS JOIN LATERAL (
    SELECT array_agg(oid) AS oids, string_agg(rolname, ', ' ORDER BY rolname) AS names
    FROM pg_roles
    WHERE rolname IN ('anon', 'authenticated')
        -- Phase 2 replaces these policies with its own, which look at client_id as well
        AND format('%s %s %s', found.name, wanted.command, rolname) <> ALL (:isolated)
) AS api
WHERE api.oids IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_policy AS p
        WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polcmd::text = wanted.polcmd
            AND p.polroles @> api.oids
            AND (wanted.polcmd = 'a' OR pg_get_expr(p.polqual, p.polrelid)
                = format('(client_id = %L::uuid)', :'default_organization'))
            AND (wanted.polcmd = 'd' OR pg_get_expr(p.polwithcheck, p.polrelid)
                = format('(client_id = %L::uuid)', :'default_organization')));
