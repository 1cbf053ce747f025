-- level: error
-- stage: preflight
SELECT
    format('constraint %s on public.%s', c.conname, found.name) AS object,
    format('ties client_id in another way: %s', pg_get_constraintdef(c.oid)) AS problem,
    format('drop it; Phase 1 adds its own: ALTER TABLE public.%I DROP CONSTRAINT %I', found.name, c.conname)
        AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_constraint AS c ON c.conrelid = to_regclass('public.' || found.name)
WHERE c.contype = 'f'
    AND EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = c.conrelid AND a.attname = 'client_id' AND a.attnum = ANY (c.conkey))
    AND NOT (
        c.conname = found.name || '_client_id_fkey'
        AND c.confrelid = coalesce(to_regclass('public.organizations'), 0) AND c.confdeltype = 'r'
        -- PostgreSQL 18 lets a key be there and ask for nothing
        AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, TRUE))
UNION ALL
SELECT
    format('constraint %s on public.%s', c.conname, found.name),
    format('has the name of the foreign key to come: %s', pg_get_constraintdef(c.oid)),
    format('rename it: ALTER TABLE public.%I RENAME CONSTRAINT %I TO former_%s', found.name, c.conname, c.conname)
FROM :tables_found AS found (name, time_column)
JOIN pg_constraint AS c ON c.conrelid = to_regclass('public.' || found.name)
WHERE (c.conname = found.name || '_client_id_fkey' AND c.contype <> 'f')
    OR (c.conname = 'phase_1_client_id_check' AND pg_get_constraintdef(c.oid) NOT LIKE 'CHECK ((client_id IS NOT NULL))%');
