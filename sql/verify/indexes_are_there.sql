-- level: error
-- stage: verify
SELECT
    'public.' || wanted.name AS object,
    CASE WHEN i.indexrelid IS NULL THEN 'there is no such index on public.' || wanted.table_name
        WHEN NOT (i.indisvalid AND i.indisready) THEN 'is invalid: it costs every write and serves no query'
        ELSE 'is another index: ' || pg_get_indexdef(i.indexrelid) END AS problem,
    CASE WHEN i.indexrelid IS NULL OR NOT (i.indisvalid AND i.indisready)
        THEN 'run the migration again: it builds what is missing'
        ELSE format('drop it and run the migration again: DROP INDEX CONCURRENTLY public.%I', wanted.name)
    END AS action
FROM :indexes_wanted AS wanted (name, table_name, columns, literals)
LEFT JOIN pg_index AS i
    ON i.indexrelid = to_regclass('public.' || wanted.name)
    AND i.indrelid = to_regclass('public.' || wanted.table_name)
LEFT JOIN pg_class AS c ON c.oid = i.indexrelid
LEFT JOIN pg_am AS am ON am.oid = c.relam
WHERE NOT (i.indisvalid AND i.indisready)
    OR am.amname <> 'btree' OR i.indisunique
    OR i.indnatts <> cardinality(wanted.columns)
    -- an index that is not there has none
    OR wanted.columns <> ARRAY(
        SELECT a.attname || CASE i.indoption[k - 1] WHEN 0 THEN '' WHEN 3 THEN ' DESC' ELSE ' NULLS' END
        FROM generate_series(1, i.indnkeyatts) AS k
        LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]
        ORDER BY k)
    OR wanted.literals <> ARRAY(
        SELECT m[1] FROM regexp_matches(coalesce(pg_get_expr(i.indpred, i.indrelid), ''), '''([^'']*)''', 'g') AS m
        ORDER BY 1)
    OR pg_get_expr(i.indpred, i.indrelid) ~ '<>|NOT ';
