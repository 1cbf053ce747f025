-- level: error
-- stage: verify
SELECT
    format('public.%s.client_id', found.name) AS object,
    CASE WHEN c.oid IS NULL THEN 'has no foreign key to organizations'
        -- PostgreSQL 18 lets a key be there and ask for nothing
        WHEN to_jsonb(c) ->> 'conenforced' = 'false' THEN 'has a foreign key that is not enforced'
        WHEN NOT c.convalidated THEN 'has a foreign key that was never validated'
        ELSE 'has a foreign key that does not restrict the deletion of an organization' END AS problem,
    CASE WHEN c.confdeltype <> 'r' OR to_jsonb(c) ->> 'conenforced' = 'false'
        THEN format('drop it and run the migration again: ALTER TABLE public.%I DROP CONSTRAINT %I', found.name, c.conname)
        ELSE 'run the migration again: it does what is missing' END AS action
FROM :tables_found AS found (name, time_column)
LEFT JOIN pg_constraint AS c
    ON c.conrelid = to_regclass('public.' || found.name)
    AND c.confrelid = to_regclass('public.organizations') AND c.conkey = ARRAY[(
        SELECT attnum FROM pg_attribute WHERE attrelid = c.conrelid AND attname = 'client_id')]
WHERE c.oid IS NULL OR NOT c.convalidated OR c.confdeltype <> 'r';
