-- The default privileges of newer projects: the web API's roles no longer read or write a new table by
-- default, but may still TRUNCATE it, refer to it and hang triggers on it. For tables to come only: run
-- it after deployed.sql and before the migration.

ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA public
REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA public
REVOKE ALL ON SEQUENCES FROM anon, authenticated, service_role;
-- PUBLIC may still execute every function: that grant is PostgreSQL's own, and not one of these.
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA public
REVOKE ALL ON FUNCTIONS FROM anon, authenticated, service_role;
