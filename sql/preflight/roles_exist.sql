-- level: error
-- stage: preflight
SELECT
    'role ' || wanted.name AS object,
    'does not exist on this server' AS problem,
    'create it, or correct --grant-execute-to' AS action
FROM unnest(:grantees) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name);
