-- level: warning
-- stage: preflight
SELECT
    'publication ' || p.pubname AS object,
    format('carries public.%s: its subscribers stop at the first row with client_id', found.name) AS problem,
    'add client_id on the subscribers first' AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_publication_tables AS p ON p.schemaname = 'public' AND p.tablename = found.name
WHERE NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('public.' || found.name) AND attname = 'client_id')
    -- since PostgreSQL 15 a publication may name the columns that it carries
    AND NOT EXISTS (
        SELECT FROM pg_publication_rel AS r
        JOIN pg_publication AS its ON its.oid = r.prpubid
        WHERE its.pubname = p.pubname AND r.prrelid = to_regclass('public.' || found.name)
            AND to_jsonb(r) ->> 'prattrs' IS NOT NULL);
