-- level: error
-- stage: preflight
SELECT
    'public.' || wanted.name AS object,
    CASE WHEN c.oid IS NULL THEN 'there is no such table'
        WHEN c.relkind NOT IN ('r', 'p') THEN 'is not a table'
        WHEN c.relispartition THEN 'is a partition itself: its columns are those of ' || parent.name
        WHEN c.reloftype <> 0 THEN 'is a typed table: its columns are those of type ' || c.reloftype::regtype
        ELSE 'has tables that inherit from it' END AS problem,
    CASE WHEN c.relispartition THEN format('ALTER TABLE %s DETACH PARTITION public.%I', parent.name, wanted.name)
        WHEN c.reloftype <> 0 THEN format('ALTER TABLE public.%I NOT OF', wanted.name)
        WHEN heirs.parting IS NOT NULL THEN heirs.parting
        ELSE 'connect to the right database' END
        || CASE WHEN wanted.name = 'users' THEN '; memberships and functions are built on users: it cannot be left out'
        ELSE ', or leave it out on purpose with --skip-table ' || wanted.name END AS action
FROM :tables_wanted AS wanted (name)
LEFT JOIN pg_class AS c ON c.oid = to_regclass('public.' || wanted.name)
LEFT JOIN LATERAL (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = c.oid) AS parent (name)
    ON c.relispartition
LEFT JOIN LATERAL (
    SELECT string_agg(format('ALTER TABLE %s NO INHERIT public.%I', inhrelid::regclass, wanted.name), '; ')
    FROM pg_inherits
    WHERE inhparent = c.oid
) AS heirs (parting) ON c.relkind = 'r'
WHERE c.oid IS NULL OR c.relkind NOT IN ('r', 'p') OR c.relispartition OR c.reloftype <> 0
    OR heirs.parting IS NOT NULL;
