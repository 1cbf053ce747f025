-- level: error
-- stage: preflight, verify
SELECT
    'public.migration_log' AS object,
    'takes a status other than started, completed, failed, skipped' AS problem,
    'ALTER TABLE public.migration_log ADD CHECK (status IN (''started'', ''completed'', ''failed'', ''skipped''))'
        AS action
WHERE to_regclass('public.migration_log') IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('public.migration_log') AND contype = 'c'
            AND pg_get_constraintdef(oid) LIKE '%status = ANY%'
            AND ARRAY(
                SELECT m[1] FROM regexp_matches(pg_get_constraintdef(oid), '''([^'']*)''', 'g') AS m ORDER BY 1
            ) = ARRAY['completed', 'failed', 'skipped', 'started'])
UNION ALL
SELECT
    'public.migration_log.id',
    'is not a generated identity',
    'ALTER TABLE public.migration_log ALTER COLUMN id DROP DEFAULT; '
        -- PostgreSQL 12 takes no second sequence for a column
        || coalesce('DROP SEQUENCE ' || pg_get_serial_sequence(attrelid::regclass::text, attname) || '; ', '')
        || 'ALTER TABLE public.migration_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY; '
        'and then what this says of its sequence'
FROM pg_attribute
WHERE attrelid = to_regclass('public.migration_log') AND attname = 'id' AND attidentity = '';
