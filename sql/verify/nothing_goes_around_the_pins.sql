-- level: warning
-- stage: verify
-- each: organizations
WITH RECURSIVE api AS (
    SELECT oid, rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
),
-- a partition has grants and row-level security of its own
found (name, oid, secured) AS (
    SELECT name, c.oid, c.relrowsecurity
    FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS each
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(name))
),
-- the views over a table, and those over them, that ask for the rights of their owners
over (name, oid) AS (
    SELECT name, oid FROM found
    UNION
    SELECT over.name, v.oid
    FROM over
    JOIN pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = over.oid
    JOIN pg_rewrite AS r ON r.oid = d.objid
    JOIN pg_class AS v
        ON v.oid = r.ev_class AND v.relkind = 'v'
        -- since PostgreSQL 15 a view may ask for the rights of who uses it
        AND NOT EXISTS (
            SELECT FROM pg_options_to_table(v.reloptions)
            WHERE CASE option_name WHEN 'security_invoker' THEN option_value::boolean END)
)
SELECT
    'public.' || found.name AS object,
    format('%s may TRUNCATE it, the rows of every client with it: no policy is asked',
        string_agg(api.rolname, ', ' ORDER BY api.rolname)) AS problem,
    format('REVOKE TRUNCATE ON public.%I FROM %s', found.name, string_agg(api.rolname, ', ' ORDER BY api.rolname))
        AS action
FROM found
JOIN api ON has_table_privilege(api.oid, found.oid, 'TRUNCATE')
WHERE (SELECT count(*) > 1 FROM public.organizations)
GROUP BY found.name
UNION ALL
SELECT
    'public.' || found.name,
    format('%s may write rows of every client: it has no row-level security',
        string_agg(api.rolname, ', ' ORDER BY api.rolname)),
    format('REVOKE INSERT, UPDATE, DELETE ON public.%I FROM %s; or ENABLE ROW LEVEL SECURITY, with the policies that '
        'the application needs, and run the migration again', found.name,
        string_agg(api.rolname, ', ' ORDER BY api.rolname))
FROM found
JOIN api ON has_table_privilege(api.oid, found.oid, 'DELETE')
    OR has_any_column_privilege(api.oid, found.oid, 'INSERT, UPDATE')
WHERE (SELECT count(*) > 1 FROM public.organizations) AND NOT found.secured
GROUP BY found.name
UNION ALL
SELECT
    v.oid::regclass::text,
    format('%s may write public.%s through this view with the rights of %s: the policies for them are not asked',
        string_agg(api.rolname, ', ' ORDER BY api.rolname), over.name, pg_get_userbyid(v.relowner)),
    format('REVOKE INSERT, UPDATE, DELETE ON %s FROM %s', v.oid::regclass,
        string_agg(api.rolname, ', ' ORDER BY api.rolname))
FROM over
JOIN pg_class AS v ON v.oid = over.oid AND v.relkind = 'v'
JOIN api
    -- the bits of pg_relation_is_updatable: 4 UPDATE, 8 INSERT, 16 DELETE
    ON (pg_relation_is_updatable(v.oid, TRUE) & 4 = 4
        AND has_any_column_privilege(api.oid, v.oid, 'UPDATE'))
    OR (pg_relation_is_updatable(v.oid, TRUE) & 8 = 8
        AND has_any_column_privilege(api.oid, v.oid, 'INSERT'))
    OR (pg_relation_is_updatable(v.oid, TRUE) & 16 = 16 AND has_table_privilege(api.oid, v.oid, 'DELETE'))
WHERE (SELECT count(*) > 1 FROM public.organizations)
GROUP BY v.oid, v.relowner, over.name;
