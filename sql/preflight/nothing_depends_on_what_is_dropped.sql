-- level: error
-- stage: rollback
-- Materialized: a name is looked up once, and not for each row of the catalog.
WITH found AS MATERIALIZED (
    SELECT name, to_regclass('public.' || name)::oid AS oid, name || '_client_id_fkey' AS foreign_key
    FROM :tables_found AS found (name, time_column)
    UNION ALL
    SELECT tenant_table, to_regclass('public.' || quote_ident(name))::oid, foreign_key
    FROM :partitions AS part (name, tenant_table, foreign_key)
),
new AS MATERIALIZED (
    SELECT name, to_regclass('public.' || name)::oid AS oid
    FROM (VALUES ('organizations'), ('user_organizations')) AS new (name)
),
dropped AS (
    SELECT 'pg_class'::regclass AS classid, a.attrelid AS objid, a.attnum::int AS objsubid
    FROM found
    JOIN pg_attribute AS a ON a.attrelid = found.oid AND a.attname = 'client_id'
    WHERE format('add_client_id(%s)', found.name) = ANY (:standing)
    UNION ALL
    SELECT 'pg_class'::regclass, oid, NULL FROM new WHERE 'create_' || name = ANY (:standing)
    UNION ALL
    SELECT 'pg_type'::regclass, c.reltype, NULL
    FROM new JOIN pg_class AS c USING (oid)
    WHERE 'create_' || name = ANY (:standing)
    UNION ALL
    SELECT 'pg_proc'::regclass, to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments)), NULL
    -- a function that is not ours has been refused before
    FROM :functions_wanted AS wanted (name, arguments)
),
-- what Phase 1 created itself, with what belongs to it
ours AS MATERIALIZED (
    SELECT 'pg_class'::regclass AS classid, to_regclass('public.' || w.name)::oid AS objid
    FROM :indexes_wanted AS w (name, table_name, columns, literals)
    UNION ALL
    SELECT 'pg_class'::regclass, to_regclass('public.' || quote_ident(w.name))::oid
    FROM :partition_indexes AS w (name)
    UNION ALL
    SELECT 'pg_constraint'::regclass, c.oid
    FROM pg_constraint AS c
    JOIN found ON c.conrelid = found.oid
    LEFT JOIN pg_constraint AS whole ON whole.oid = c.conparentid
    WHERE c.conname IN (found.foreign_key, 'phase_1_client_id_check')
        OR whole.conname = found.name || '_client_id_fkey'
        OR (c.contype = 'n' AND c.conkey = ARRAY[(
            SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = c.conrelid AND a.attname = 'client_id')])
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid
    FROM pg_policy AS p
    JOIN found ON p.polrelid = found.oid
    WHERE p.polname LIKE 'phase\_1\_client\_pinned%'
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid
    FROM pg_attrdef AS d
    JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attname = 'client_id'
    UNION ALL
    SELECT c.classid, c.objid FROM (
        SELECT 'pg_class'::regclass AS classid, oid AS objid, oid AS relation FROM pg_class
        UNION ALL SELECT 'pg_class'::regclass, indexrelid, indrelid FROM pg_index
        UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid FROM pg_constraint
        UNION ALL SELECT 'pg_attrdef'::regclass, oid, adrelid FROM pg_attrdef
        UNION ALL SELECT 'pg_trigger'::regclass, oid, tgrelid FROM pg_trigger
        UNION ALL SELECT 'pg_type'::regclass, oid, typrelid FROM pg_type
        UNION ALL SELECT 'pg_type'::regclass, typarray, typrelid FROM pg_type
        UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid FROM pg_policy WHERE polname = 'phase_1_denied'
    ) AS c
    WHERE c.relation IN (SELECT oid FROM new)
    -- those of the new tables among the toast tables, and their triggers on other tables
    UNION ALL
    SELECT 'pg_class'::regclass, reltoastrelid FROM pg_class
    UNION ALL
    SELECT 'pg_trigger'::regclass, oid FROM pg_trigger WHERE tgisinternal
)
SELECT DISTINCT
    pg_describe_object(
        coalesce(view.classid, d.classid), coalesce(view.objid, d.objid),
        CASE WHEN view.objid IS NULL THEN d.objsubid ELSE 0 END) AS object,
    format('was built on %s', pg_describe_object(dropped.classid, dropped.objid, coalesce(dropped.objsubid, 0)))
        AS problem,
    'drop it, or change it so that it does without, and run the rollback again' AS action
FROM dropped
JOIN pg_depend AS d
    ON d.refclassid = dropped.classid AND d.refobjid = dropped.objid
    AND (dropped.objsubid IS NULL OR d.refobjsubid = dropped.objsubid)
-- a view depends through its rewrite rule
LEFT JOIN LATERAL (
    SELECT 'pg_class'::regclass AS classid, r.ev_class AS objid
    FROM pg_rewrite AS r
    WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
) AS view ON TRUE
WHERE NOT EXISTS (SELECT FROM ours WHERE ours.classid = d.classid AND ours.objid = d.objid);
