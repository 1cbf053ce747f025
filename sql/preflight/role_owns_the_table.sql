-- level: error
-- stage: preflight, rollback
SELECT
    format('public.%I', found.name) AS object,
    format(CASE WHEN its.member THEN 'belongs to %I, and %I is a member of that role without its rights (NOINHERIT)'
        ELSE 'belongs to %I, and %I is not a member of that role' END, its.owner, current_user) AS problem,
    format(CASE WHEN its.member THEN 'connect as %I, or begin the session as that role: add options=-crole=%1$I to the '
        'connection string' ELSE 'connect as %I' END, its.owner) AS action
FROM (
    SELECT name FROM :tables_found AS found (name, time_column)
    UNION ALL
    SELECT name FROM :partitions AS part (name)
    UNION ALL
    SELECT name FROM (VALUES ('organizations'), ('user_organizations'), ('migration_log')) AS new (name)
) AS found
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name))
CROSS JOIN LATERAL (SELECT pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'MEMBER')) AS its (owner, member)
WHERE NOT pg_has_role(c.relowner, 'USAGE');
