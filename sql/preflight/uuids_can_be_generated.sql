-- level: error
-- stage: preflight
SELECT
    'gen_random_uuid()' AS object,
    format('PostgreSQL 12 has none of its own, and %I may not create the extension pgcrypto', current_user)
        AS problem,
    'as a superuser, in this database: CREATE EXTENSION pgcrypto WITH SCHEMA public' AS action
WHERE NOT EXISTS (
        -- one that anybody else has made is not called with the rights of who inserts
        SELECT FROM pg_proc AS p JOIN pg_roles AS r ON r.oid = p.proowner
        WHERE p.proname = 'gen_random_uuid' AND p.pronargs = 0 AND (r.rolsuper OR r.rolname = current_user))
    AND NOT EXISTS (
        SELECT FROM pg_roles, pg_available_extensions AS e
        WHERE rolname = current_user AND rolsuper AND e.name = 'pgcrypto');
