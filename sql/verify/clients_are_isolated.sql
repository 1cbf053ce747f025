-- level: warning
-- stage: verify
-- each: organizations
WITH read_by_the_api AS (
    SELECT DISTINCT found.name
    FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS found
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name))
    JOIN pg_roles AS api ON api.rolname IN ('anon', 'authenticated')
    WHERE has_any_column_privilege(api.oid, c.oid, 'SELECT')
        AND (NOT c.relrowsecurity
            -- where no policy lets anybody read, row-level security shows no row
            OR (format('%s SELECT %s', found.name, api.rolname) <> ALL (:isolated)
                AND EXISTS (
                    SELECT FROM pg_policy AS p, unnest(p.polroles) AS r (oid)
                    WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('*', 'r')
                        AND (r.oid = 0 OR pg_has_role(api.oid, r.oid, 'USAGE')))))
)
SELECT
    'public.organizations' AS object,
    'there is more than one organization, and Phase 1 does not keep them apart: who may read a table reads '
        'the rows of every client'
        || coalesce((
            SELECT format(' (no policy keeps the web API to a client on: %s)', string_agg(name, ', ' ORDER BY name))
            FROM read_by_the_api
            HAVING count(*) > 0), '') AS problem,
    'do not give a second client access before Phase 2 (row-level security by client)' AS action
FROM public.organizations
WHERE cardinality(:isolated) = 0 OR EXISTS (SELECT FROM read_by_the_api)
HAVING count(*) > 1;
