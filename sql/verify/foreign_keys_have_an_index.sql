-- level: warning
-- stage: verify
SELECT
    format('constraint %s on %s', c.conname, c.conrelid::regclass) AS object,
    'has no index that leads with its columns: deleting an organization or a user reads the whole table' AS problem,
    'build the index that was left out' AS action
FROM pg_constraint AS c
WHERE c.contype = 'f'
    AND (c.confrelid = to_regclass('public.organizations')
        OR c.conrelid = to_regclass('public.user_organizations'))
    AND NOT EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = c.conkey[1]);
