-- level: error
-- stage: preflight
SELECT
    'public.users' AS object,
    'has no unique column id of type uuid that is NOT NULL, which memberships refer to' AS problem,
    'Phase 1 needs users.id uuid PRIMARY KEY; convert it first' AS action
WHERE to_regclass('public.users') IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_attribute AS a
        JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum
        WHERE a.attrelid = to_regclass('public.users') AND a.attname = 'id' AND a.atttypid = 'uuid'::regtype
            AND a.attnotnull AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
            -- PostgreSQL 18 lets a column be NOT NULL whose rows nobody has looked at
            AND NOT EXISTS (
                SELECT FROM pg_constraint AS c
                WHERE c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum] AND c.contype = 'n'
                    AND NOT c.convalidated));
