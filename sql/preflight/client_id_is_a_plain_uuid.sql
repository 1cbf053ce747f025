-- level: error
-- stage: preflight
SELECT
    format('public.%s.client_id', found.name) AS object,
    CASE WHEN a.attgenerated <> '' THEN 'is a generated column'
        ELSE format('is there already, as %s instead of uuid', format_type(a.atttypid, a.atttypmod))
    END AS problem,
    format('rename it first: ALTER TABLE public.%I RENAME COLUMN client_id TO former_client_id', found.name)
        AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
WHERE a.atttypid <> 'uuid'::regtype OR a.attgenerated <> ''
UNION ALL
-- PostgreSQL 18 lets a column be NOT NULL whose rows nobody has looked at
SELECT
    format('public.%s.client_id', found.name),
    format('is NOT NULL by %s, which was never validated: there may be NULLs', c.conname),
    format('let Phase 1 fill them: ALTER TABLE public.%1$I ALTER COLUMN client_id DROP NOT NULL; or, where there are '
        'none: ALTER TABLE public.%1$I VALIDATE CONSTRAINT %2$I', found.name, c.conname)
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
JOIN pg_constraint AS c
    ON c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum] AND c.contype = 'n' AND NOT c.convalidated;
