-- level: error
-- stage: preflight
SELECT
    'public.' || wanted.name AS object,
    CASE WHEN i.indexrelid IS NULL THEN 'is the name of another object'
        ELSE 'is another index: ' || pg_get_indexdef(i.indexrelid) END AS problem,
    CASE WHEN i.indexrelid IS NULL THEN format('rename it, or leave the index out with --skip-index %s', wanted.whole)
        ELSE format('rename it: ALTER INDEX public.%I RENAME TO %I; or leave it as it is with '
            '--skip-index %s', wanted.name, 'former_' || wanted.name, wanted.whole) END AS action
FROM (
    SELECT name, table_name, name AS whole, columns, literals
    FROM :indexes_wanted AS i (name, table_name, columns, literals)
    UNION ALL
    SELECT name, table_name, whole, columns, literals
    FROM :partition_indexes AS i (name, table_name, whole, columns, literals)
) AS wanted
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(wanted.name))
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_am AS am ON am.oid = c.relam
WHERE i.indrelid IS DISTINCT FROM to_regclass('public.' || quote_ident(wanted.table_name))
    OR am.amname <> 'btree' OR i.indisunique
    OR i.indnatts <> cardinality(wanted.columns)
    OR wanted.columns <> ARRAY(
        SELECT a.attname || CASE i.indoption[k - 1] WHEN 0 THEN '' WHEN 3 THEN ' DESC' ELSE ' NULLS' END
        FROM generate_series(1, i.indnkeyatts) AS k
        LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]
        ORDER BY k)
    OR wanted.literals <> ARRAY(
        SELECT m[1] FROM regexp_matches(coalesce(pg_get_expr(i.indpred, i.indrelid), ''), '''([^'']*)''', 'g') AS m
        ORDER BY 1)
    OR pg_get_expr(i.indpred, i.indrelid) ~ '<>|NOT ';
