-- level: error
-- stage: preflight, rollback
SELECT
    'public.' || found.name AS object,
    format('has FORCE ROW LEVEL SECURITY, and %I cannot bypass it: the migration and its functions would not '
        'see every row', current_user) AS problem,
    format('ALTER TABLE public.%I NO FORCE ROW LEVEL SECURITY, or use a role with BYPASSRLS', found.name)
        AS action
FROM (SELECT name FROM :tables_found AS t (name) UNION ALL SELECT name FROM :partitions AS p (name)) AS found
JOIN pg_class AS c ON c.oid = to_regclass('public.' || quote_ident(found.name))
WHERE c.relforcerowsecurity AND row_security_active(c.oid);
