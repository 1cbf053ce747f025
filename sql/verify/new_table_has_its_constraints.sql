-- level: error
-- stage: preflight, verify
WITH wanted (table_name, definition) AS (
    VALUES
    ('organizations', 'PRIMARY KEY (id)'),
    ('organizations', 'UNIQUE (name)'),
    ('organizations', 'UNIQUE (slug)'),
    ('user_organizations', 'PRIMARY KEY (id)'),
    ('user_organizations', 'UNIQUE (user_id, organization_id)'),
    ('user_organizations', 'FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE'),
    ('user_organizations', 'FOREIGN KEY (organization_id) REFERENCES organizations(id)'),
    ('migration_log', 'PRIMARY KEY (id)')
)
SELECT
    'public.' || wanted.table_name AS object,
    'has no constraint ' || wanted.definition AS problem,
    format('ALTER TABLE public.%I ADD %s', wanted.table_name, wanted.definition) AS action
FROM wanted
WHERE to_regclass('public.' || wanted.table_name) IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('public.' || wanted.table_name)
            -- whether a name is shown with its schema depends on the search_path
            AND replace(pg_get_constraintdef(oid), 'public.', '') = wanted.definition);
