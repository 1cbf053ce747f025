-- level: warning
-- stage: preflight
SELECT
    p.oid::regprocedure::text AS object,
    format('returns the columns of SELECT * from public.%s, and fails once that has one column more', found.name)
        AS problem,
    'name the columns in it before the migration' AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || found.name)
JOIN pg_proc AS p
    ON p.prosrc ~* ('(\mselect\s+|\mdistinct\s+|\mall\s+|,\s*|\.)\*\s*(,[^;()]*)?\mfrom\M[^;()]*(\s|,|"?public"?\.)"?'
        || found.name || '\M')
JOIN pg_language AS l ON l.oid = p.prolang
JOIN pg_type AS t ON t.oid = p.prorettype
WHERE (p.proretset OR (l.lanname = 'sql' AND (t.typtype = 'c' OR t.oid = 'record'::regtype)))
    -- the row type of the table gets the column too
    AND p.prorettype <> c.reltype;
