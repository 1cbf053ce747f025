-- level: error
-- stage: rollback
SELECT
    c.oid::regclass::text AS object,
    'has a client_id of Phase 1, and is neither a tenant table nor a partition of one any more: the rollback would leave '
        'it there' AS problem,
    format('make it again what it was, or take from it what belongs to Phase 1: %sALTER TABLE %s DROP COLUMN client_id',
        (SELECT string_agg(format('DROP POLICY %I ON %s; ', polname, c.oid::regclass), '')
            FROM pg_policy WHERE polrelid = c.oid AND polname LIKE 'phase\_1\_client\_pinned%'),
        c.oid::regclass) AS action
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'client_id'
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p')
    AND NOT EXISTS (
        SELECT FROM (
            SELECT name FROM :tables_found AS found (name) UNION ALL SELECT name FROM :partitions AS part (name)
        ) AS known
        WHERE c.oid = to_regclass('public.' || quote_ident(known.name)))
    AND (EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname LIKE 'phase\_1\_client\_pinned%')
        OR format('add_client_id_foreign_key(%s)', c.relname) = ANY (:standing)
        -- an organization that was there before may be the default of other tables
        OR ('create_default_organization' = ANY (:standing)
            AND pg_get_expr(d.adbin, d.adrelid) = quote_literal(:'default_organization') || '::uuid'));
