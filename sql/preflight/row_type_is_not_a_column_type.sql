-- level: error
-- stage: preflight
WITH RECURSIVE made_of (type, name) AS (
    SELECT c.reltype, found.name
    FROM :tables_found AS found (name, time_column)
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
    -- a table that has client_id already is not changed in a way that PostgreSQL would refuse
    WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'client_id')
    UNION
    SELECT further.type, made_of.name
    FROM made_of
    CROSS JOIN LATERAL (
        -- arrays, domains and ranges
        SELECT objid
        FROM pg_depend
        WHERE (classid, refclassid, refobjid) = ('pg_type'::regclass, 'pg_type'::regclass, made_of.type)
        UNION ALL
        -- what has several columns, and a type of its own
        SELECT c.reltype
        FROM pg_attribute AS a
        JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('c', 'v', 'f')
        WHERE a.atttypid = made_of.type
    ) AS further (type)
)
SELECT
    format('%s.%s', a.attrelid::regclass, a.attname) AS object,
    format('is of the row type of public.%s, which PostgreSQL therefore refuses to change', made_of.name) AS problem,
    format('change that column first, or leave the table out with --skip-table %s', made_of.name) AS action
FROM made_of
JOIN pg_attribute AS a ON a.atttypid = made_of.type
JOIN pg_class AS user_of_it ON user_of_it.oid = a.attrelid AND user_of_it.relkind IN ('r', 'm', 'p');
