-- level: error
-- stage: names
-- PostgreSQL runs what is behind a view, a partition or a foreign table with the rights of whoever reads it.
SELECT
    'public.' || names.name AS object,
    format('is %s and belongs to %I: to read it is to run what that role has put into it, with the rights of %I',
        CASE c.relkind
            WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
            WHEN 'p' THEN 'a partitioned table' WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a composite type'
            WHEN 'r' THEN 'a table with an heir of somebody else' ELSE 'an index' END,
        pg_get_userbyid(c.relowner), session_user) AS problem,
    CASE WHEN names.name = 'users' THEN 'connect to the database of the application'
        ELSE format('rename it: ALTER %s public.%I RENAME TO %I',
            CASE c.relkind WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, names.name, 'former_' || names.name) END AS action
FROM (SELECT name FROM :names AS names (name) UNION ALL VALUES ('users')) AS names (name)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || names.name)
WHERE CASE names.name
    -- the checks for tenant tables ask the rest
    WHEN 'users' THEN c.relkind NOT IN ('r', 'p')
    ELSE c.relkind <> 'r' OR c.relispartition OR EXISTS (
        -- the rows of an heir are read with those of the table
        SELECT
        FROM pg_inherits AS i
        JOIN pg_class AS heir ON heir.oid = i.inhrelid
        WHERE i.inhparent = c.oid
            AND (heir.relkind <> 'r' OR NOT pg_has_role(heir.relowner, :owner_of_users, :rights))) END;
