-- level: error
-- stage: preflight
SELECT
    format('public.%s.%s', wanted.table_name, a.attname) AS object,
    format(CASE WHEN t.typcategory = 'S' THEN 'is of type %1$s, whose = is not that of text: %3$s would serve nobody'
        ELSE 'is of type %1$s and never %2$s, the rows that %3$s is of' END, format_type(a.atttypid, a.atttypmod),
        string_agg(quote_literal(each.value), ' or '), wanted.name) AS problem,
    format('leave the index out on purpose with --skip-index %s', wanted.name) AS action
FROM :indexes_wanted AS wanted (name, table_name, columns, literals)
CROSS JOIN LATERAL unnest(wanted.literals) AS each (value)
-- what an index of some rows is searched by is what these rows are chosen by
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || wanted.table_name) AND a.attname = wanted.columns[2]
JOIN pg_type AS t ON t.oid = a.atttypid
-- a text takes any value, an enum its labels, and a domain is written by the function of what it is made of
WHERE t.typoutput NOT IN ('textout'::regproc, 'varcharout'::regproc, 'bpcharout'::regproc)
    AND NOT EXISTS (
        SELECT FROM pg_enum
        WHERE enumtypid = coalesce(nullif(t.typbasetype, 0), t.oid) AND enumlabel = each.value)
GROUP BY wanted.name, wanted.table_name, a.attname, a.atttypid, a.atttypmod, t.typcategory;
