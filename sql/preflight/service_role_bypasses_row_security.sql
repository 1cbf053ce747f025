-- level: warning
-- stage: preflight
SELECT
    'role service_role' AS object,
    'is subject to row-level security and will see no organization and no membership' AS problem,
    'as a superuser: ALTER ROLE service_role BYPASSRLS' AS action
FROM pg_roles
WHERE rolname = 'service_role' AND NOT rolsuper AND NOT rolbypassrls;
