-- level: warning
-- stage: preflight
SELECT
    'publication ' || p.pubname AS object,
    format('carries every table of schema public, and so %s as soon as they are there: its subscribers stop at the '
        'first row of them', missing.names) AS problem,
    'create them on the subscribers before the migration, empty, as --dry-run shows them; after it: ALTER SUBSCRIPTION '
        '... REFRESH PUBLICATION' AS action
FROM pg_publication AS p
CROSS JOIN (
    SELECT string_agg('public.' || name, ', ') AS names
    FROM (VALUES ('organizations'), ('user_organizations'), ('migration_log')) AS new (name)
    WHERE to_regclass('public.' || name) IS NULL
) AS missing
WHERE missing.names IS NOT NULL
    -- pg_publication_namespace came with PostgreSQL 15; what is in it depends on the schema and on the publication
    AND (p.puballtables OR EXISTS (
        SELECT FROM pg_depend AS its
        JOIN pg_depend AS schema ON (schema.classid, schema.objid, schema.refclassid, schema.refobjid)
            = (its.classid, its.objid, 'pg_namespace'::regclass, 'public'::regnamespace)
        WHERE (its.classid, its.refclassid, its.refobjid)
            = (to_regclass('pg_catalog.pg_publication_namespace'), 'pg_publication'::regclass, p.oid)));
