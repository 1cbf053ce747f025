-- level: error
-- stage: names
-- Everything else is measured by the owner of public.users: who owns that table only is not to be trusted with the rest.
WITH owners (name, owner) AS (
    SELECT tenants.name, c.relowner
    FROM :tenants AS tenants (name)
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || tenants.name)
),
most (owner) AS (SELECT mode() WITHIN GROUP (ORDER BY owner) FROM owners)
SELECT
    'public.users' AS object,
    format('belongs to %I, and most of the other tables to %I: one of the two does not have the rights of the other',
        pg_get_userbyid(:owner_of_users), pg_get_userbyid(most.owner)) AS problem,
    format('see what hangs on it, with \d public.users; then ALTER TABLE public.users OWNER TO %I',
        pg_get_userbyid(most.owner)) AS action
FROM most
JOIN pg_roles AS r ON r.oid = most.owner
WHERE EXISTS (SELECT FROM owners WHERE name = 'users') AND most.owner <> :owner_of_users
    AND (NOT pg_has_role(most.owner, :owner_of_users, :rights)
        OR (NOT r.rolsuper AND NOT pg_has_role(:owner_of_users, most.owner, :rights)))
UNION ALL
SELECT
    'public.users',
    format('belongs to %I, and %I does not have the rights of that role', pg_get_userbyid(:owner_of_users), current_user),
    format('if this is the application''s own database, connect as %I', pg_get_userbyid(:owner_of_users))
WHERE :rights_needed AND NOT pg_has_role(current_user, :owner_of_users, 'MEMBER');
