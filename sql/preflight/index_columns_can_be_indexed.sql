-- level: error
-- stage: preflight
SELECT
    format('public.%s.%s', wanted.table_name, a.attname) AS object,
    CASE WHEN a.attgenerated = 'v' THEN 'is a generated column that is not stored'
        ELSE format('is of type %s, which has no order', format_type(a.atttypid, a.atttypmod)) END
        || format(', and %s is to be built on it', wanted.name) AS problem,
    format('leave the index out on purpose with --skip-index %s', wanted.name) AS action
FROM :indexes_wanted AS wanted (name, table_name, columns, literals)
CROSS JOIN LATERAL unnest(wanted.columns) AS each (column_and_order)
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || wanted.table_name)
    AND a.attname = regexp_replace(each.column_and_order, ' DESC$', '')
JOIN pg_type AS t ON t.oid = a.atttypid
JOIN pg_type AS made_of ON made_of.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
WHERE a.attgenerated = 'v'
    -- arrays, enums, ranges and rows are ordered like what is in them
    OR (made_of.typtype = 'b' AND made_of.typcategory <> 'A'
        AND NOT EXISTS (
            SELECT
            FROM pg_opclass AS o
            JOIN pg_am AS am ON am.oid = o.opcmethod AND am.amname = 'btree'
            WHERE o.opcdefault
                AND (o.opcintype = made_of.oid OR EXISTS (
                    SELECT FROM pg_cast
                    WHERE (castsource, casttarget, castmethod, castcontext) = (made_of.oid, o.opcintype, 'b', 'i')))));
