-- level: error
-- stage: preflight, rollback
-- each: table that is filled or emptied
SELECT
    'public.' || :'table' AS object,
    format('publication %s carries it without a key to know its rows by: none can be updated (55000), and they are, '
        'where client_id was there before', p.pubname) AS problem,
    format('ALTER TABLE public.%I REPLICA IDENTITY FULL', :'table') AS action
FROM pg_class AS c
JOIN pg_publication_tables AS carried ON carried.schemaname = 'public' AND carried.tablename = c.relname
JOIN pg_publication AS p ON p.pubname = carried.pubname AND p.pubupdate
WHERE c.oid = to_regclass('public.' || quote_ident(:'table')) AND c.relreplident <> 'f'
    AND NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = c.oid
            AND CASE c.relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident ELSE FALSE END);
