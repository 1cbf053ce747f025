-- level: error
-- stage: tables
-- The owner of a table can have code run with the rights of whoever reads it, at any time.
SELECT
    c.oid::regclass::text AS object,
    format('belongs to %I, who does not have the rights of %I, the owner of public.users: what that role hangs on the '
        'table would run with the rights of %I', pg_get_userbyid(c.relowner), pg_get_userbyid(:owner_of_users),
        session_user)
        || CASE at_stake.table_name WHEN '' THEN '. It refers to public.organizations' ELSE '' END AS problem,
    format('see what hangs on it, with \d %s; then ALTER TABLE %1$s OWNER TO %2$I', c.oid::regclass,
        pg_get_userbyid(:owner_of_users))
        || CASE WHEN at_stake.table_name IN ('', 'users') THEN ''
        ELSE format('; or leave the table out on purpose with --skip-table %s', at_stake.table_name) END AS action
FROM :at_stake AS at_stake (oid, table_name, is_ours, is_updated)
JOIN pg_class AS c ON c.oid = at_stake.oid
WHERE NOT pg_has_role(c.relowner, :owner_of_users, :rights);
