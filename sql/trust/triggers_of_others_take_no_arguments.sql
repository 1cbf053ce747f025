-- level: error
-- stage: names, tables
-- Who created a trigger PostgreSQL does not keep. With arguments of their choice, to the trigger or in its condition,
-- others can have a function of the owner do what it was not written for, with the rights of whoever writes to the table.
SELECT
    pg_describe_object('pg_trigger'::regclass, g.oid, 0) AS object,
    format('passes arguments to %s, or calls functions in its condition, and may be the work of %s, who may create triggers on the table: it would run with '
        'the rights of %I', g.tgfoid::regprocedure,
        string_agg(DISTINCT CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END, ', '),
        session_user) AS problem,
    format('see what it does with them; then REVOKE TRIGGER ON %s FROM %s', c.oid::regclass,
        string_agg(DISTINCT CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END, ', '))
        AS action
FROM :at_stake AS at_stake (oid, table_name, is_ours, is_updated)
JOIN pg_class AS c ON c.oid = at_stake.oid
JOIN pg_trigger AS g
    ON g.tgrelid = c.oid AND NOT g.tgisinternal
    AND (g.tgnargs > 0 OR EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_trigger'::regclass AND objid = g.oid AND refclassid = 'pg_proc'::regclass
            AND refobjid <> g.tgfoid))
CROSS JOIN LATERAL aclexplode(c.relacl) AS acl
WHERE ((at_stake.is_ours AND g.tgtype & 12 <> 0)
        OR (at_stake.is_updated AND g.tgtype & 16 = 16 AND (g.tgattr::text = '' OR EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = c.oid AND attname = 'client_id' AND attnum = ANY (g.tgattr)))))
    AND g.tgenabled IN ('O', 'A') AND acl.privilege_type = 'TRIGGER'
    AND (acl.grantee = 0 OR NOT pg_has_role(acl.grantee, :owner_of_users, :rights))
GROUP BY g.oid, g.tgfoid, c.oid;
