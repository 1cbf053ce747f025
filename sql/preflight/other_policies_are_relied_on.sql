-- level: warning
-- stage: preflight
SELECT
    'public.' || found.name AS object,
    format('Phase 1 does not keep %s to the default organization here (%s), and relies on what looks at client_id: %s',
        string_agg(DISTINCT api.rolname, ', '), string_agg(DISTINCT command.name, ', '),
        string_agg(DISTINCT format('policy %I', p.polname), ', ')) AS problem,
    'see that it lets nobody write a row of another client: one that says client_id IS NOT NULL does not' AS action
FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS found
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name)) AND c.relrowsecurity
JOIN (VALUES ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) AS command (name, letter) ON TRUE
JOIN pg_roles AS api ON format('%s %s %s', found.name, command.name, api.rolname) = ANY (:isolated)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'client_id'
JOIN pg_policy AS p ON p.polrelid = c.oid AND p.polcmd::text IN ('*', command.letter)
JOIN pg_depend AS d
    ON (d.classid, d.objid) = ('pg_policy'::regclass, p.oid)
    AND (d.refclassid, d.refobjid, d.refobjsubid) = ('pg_class'::regclass, c.oid, a.attnum)
-- where Phase 2 has replaced what Phase 1 did, it was no oversight
WHERE 'pin_client(' || found.name || ')' <> ALL (:standing)
GROUP BY found.name;
