-- level: error
-- stage: names
-- Up to PostgreSQL 12 what is constant in a partition key is worked out whenever the table is opened: for its size,
-- or the definition of one of its indexes. A fingerprint opens the tables of every schema.
SELECT
    'table ' || p.partrelid::regclass AS object,
    format('has %s in its partition key, which belongs to %I: whoever opens the table runs it, here with the rights of '
        '%I', f.oid::regprocedure, pg_get_userbyid(f.proowner), session_user) AS problem,
    CASE WHEN pg_has_role(f.proowner, :owner_of_users, :rights)
        THEN 'run it as the owner of the tables, not as a superuser'
        ELSE format('see what it is for; then drop the table: DROP TABLE %s', p.partrelid::regclass) END AS action
FROM pg_partitioned_table AS p
JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = p.partrelid
LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc AS f ON f.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
WHERE current_setting('server_version_num')::integer < 130000
    AND NOT pg_has_role(f.proowner, :trusted_with_code, :rights);
