-- level: error
-- stage: preflight
SELECT
    'public.user_organizations' AS object,
    'is there already, and the log does not say that Phase 1 created it' AS problem,
    'rename it: ALTER TABLE public.user_organizations RENAME TO former_user_organizations; or, where Phase 1 has been '
        'run before, restore public.migration_log' AS action
WHERE to_regclass('public.user_organizations') IS NOT NULL AND NOT 'create_user_organizations' = ANY (:standing)
UNION ALL
SELECT
    'public.migration_log_id_seq',
    'has the name of the sequence of the log to come',
    'rename it: ALTER TABLE public.migration_log_id_seq RENAME TO former_migration_log_id_seq'
WHERE to_regclass('public.migration_log_id_seq') IS NOT NULL AND to_regclass('public.migration_log') IS NULL
UNION ALL
-- a table is a type as well; a type of several columns is in pg_class too, and taken for a table of another shape
SELECT
    'type public.' || t.typname,
    'has the name of a table to come',
    format('rename it: ALTER TYPE public.%1$I RENAME TO former_%1$s', t.typname)
FROM pg_type AS t
WHERE t.typnamespace = 'public'::regnamespace AND t.typrelid = 0
    AND t.typname IN ('organizations', 'user_organizations', 'migration_log')
UNION ALL
SELECT
    p.oid::regprocedure::text,
    'is there already, and the log does not say that Phase 1 created it',
    format('rename it: ALTER ROUTINE %s RENAME TO former_%s', p.oid::regprocedure, p.proname)
FROM pg_proc AS p
JOIN :functions_wanted AS wanted (name, arguments) ON wanted.name = p.proname
WHERE p.oid = to_regprocedure(format('public.%I(%s)', wanted.name, wanted.arguments))
    AND NOT 'create_' || wanted.name = ANY (:standing);
