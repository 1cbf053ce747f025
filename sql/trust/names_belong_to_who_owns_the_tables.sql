-- level: error
-- stage: names
-- A table under a name of Phase 1 says what was done and which clients there are; a function is called by the application.
SELECT
    CASE WHEN its.kind = 'f' THEN its.name ELSE 'public.' || its.name END AS object,
    format('belongs to %I, who does not have the rights of %I, the owner of public.users', pg_get_userbyid(its.owner),
        pg_get_userbyid(:owner_of_users)) AS problem,
    CASE its.kind
        WHEN 'f' THEN format('see what it is for; drop it: DROP ROUTINE %s', its.name)
        ELSE format('see what it is for; rename it: ALTER TABLE public.%1$I RENAME TO %2$I', its.name,
            'former_' || its.name) END AS action
FROM (
    SELECT 'r' AS kind, names.name, c.relowner AS owner
    FROM :names AS names (name)
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || names.name)
    UNION ALL
    -- with other arguments too: a driver that sends texts without a type calls the one for texts
    SELECT 'f', p.oid::regprocedure::text, p.proowner
    FROM :functions AS functions (name)
    JOIN pg_proc AS p ON p.proname = functions.name AND p.pronamespace = to_regnamespace('public')
) AS its (kind, name, owner)
WHERE NOT pg_has_role(its.owner, :owner_of_users, :rights);
