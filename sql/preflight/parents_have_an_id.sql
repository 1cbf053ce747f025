-- level: error
-- stage: preflight
SELECT
    'public.' || child.parent AS object,
    format('has no column id for %s.%s to be compared with', child.name, child.column_name) AS problem,
    format('leave it out on purpose with --skip-table %s', child.name) AS action
FROM :children_wanted AS child (name, column_name, parent)
WHERE NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('public.' || child.parent) AND attname = 'id')
UNION ALL
SELECT
    format('public.%s.%s', child.name, child.column_name),
    format('is of type %s and cannot be compared with public.%s.id of type %s',
        format_type(mine.atttypid, NULL), child.parent, format_type(its.atttypid, NULL)),
    format('give it the type of what it refers to, or leave it out on purpose with --skip-table %s', child.name)
FROM :children_wanted AS child (name, column_name, parent)
JOIN pg_attribute AS mine
    ON mine.attrelid = to_regclass('public.' || child.name) AND mine.attname = child.column_name
JOIN pg_attribute AS its
    ON its.attrelid = to_regclass('public.' || child.parent) AND its.attname = 'id'
JOIN pg_type AS my_type ON my_type.oid = mine.atttypid
JOIN pg_type AS its_type ON its_type.oid = its.atttypid
-- two numbers or two texts can be compared whatever their type, and a domain like what it is made of
WHERE my_type.typcategory <> its_type.typcategory
    OR (my_type.typcategory = 'U'
        AND coalesce(nullif(my_type.typbasetype, 0), my_type.oid)
            <> coalesce(nullif(its_type.typbasetype, 0), its_type.oid));
