-- level: error
-- stage: names
-- What is called without its schema is found in the first schema of the search_path that has the name: the one that is
-- called like the role, and those that the server, the database or a role has set.
-- A role that may do nothing with public.users is of another application.
WITH on_the_way (schema, role) AS (
    SELECT rolname::text, oid FROM pg_roles
    UNION
    SELECT btrim(part, ' "'), paths.role
    FROM (
        SELECT substr(setting, length('search_path=') + 1), setrole
        FROM pg_db_role_setting, unnest(setconfig) AS setting
        WHERE setting LIKE 'search\_path=%'
            AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        UNION ALL
        SELECT unnest(ARRAY[boot_val, reset_val]), 0 FROM pg_settings WHERE name = 'search_path'
    ) AS paths (path, role)
    CROSS JOIN regexp_split_to_table(path, ',') AS part
)
SELECT DISTINCT
    its.name AS object,
    format('belongs to %I, who does not have the rights of %I, and has a name of Phase 1: sessions whose search_path '
        'has schema %I before public use it instead', pg_get_userbyid(its.owner), pg_get_userbyid(:owner_of_users),
        n.nspname) AS problem,
    CASE its.kind WHEN 'ROUTINE' THEN 'see what it is for; drop it: DROP ROUTINE ' || its.name
        ELSE format('see what it is for; rename it: ALTER TABLE %s RENAME TO %I', its.name, 'former_' || its.bare) END
        AS action
FROM (
    SELECT 'TABLE' AS kind, c.oid::regclass::text AS name, c.relname AS bare, c.relnamespace AS namespace, c.relowner AS owner
    FROM :names AS names (name)
    JOIN pg_class AS c ON c.relname = names.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT 'ROUTINE', p.oid::regprocedure::text, p.proname, p.pronamespace, p.proowner
    FROM :functions AS functions (name)
    JOIN pg_proc AS p ON p.proname = functions.name
) AS its
JOIN pg_namespace AS n ON n.oid = its.namespace AND n.nspname <> 'public'
-- in a schema of its own name a role finds what is its own
JOIN on_the_way AS way
    ON way.schema = n.nspname AND way.role <> its.owner
    AND (way.role = 0
        OR has_table_privilege(way.role, to_regclass('public.users')::oid, 'SELECT, INSERT, UPDATE, DELETE'))
WHERE NOT pg_has_role(its.owner, :owner_of_users, :rights);
