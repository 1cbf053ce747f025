-- level: warning
-- stage: preflight
SELECT
    'index ' || i.indexrelid::regclass::text AS object,
    format('on public.%s is invalid: it costs every write and serves no query', found.name) AS problem,
    CASE WHEN c.relname = ANY (ARRAY(SELECT w.name FROM :indexes_wanted AS w (name, table_name, columns, literals)))
        THEN CASE c.relkind WHEN 'I' THEN 'nothing to do: it is valid with the last of its parts, which are built'
            ELSE 'nothing to do: it is dropped and built again' END
        WHEN c.relkind = 'I' THEN format('build it on each partition that lacks it, and attach that: ALTER INDEX %s '
            'ATTACH PARTITION ...', i.indexrelid::regclass)
        ELSE format('REINDEX INDEX CONCURRENTLY %s', i.indexrelid::regclass) END AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_index AS i ON i.indrelid = to_regclass('public.' || found.name)
JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE NOT (i.indisvalid AND i.indisready);
