-- The roles of the application, once a cluster; running it again changes nothing.
-- Run by a superuser. The founding variant uses app_owner only.

DO $$
BEGIN
    -- Several workers may share a server; two that find a role missing would both create it. Holds for those
    -- that run this in the same database.
    PERFORM pg_catalog.pg_advisory_xact_lock(7001);

    -- Owns the tables and runs the migration. Every "NO" is spelled out, because that the migration
    -- needs none of these is one of the promises.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'app_owner') THEN
        CREATE ROLE app_owner
            LOGIN PASSWORD 'app_owner'
            NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;

    -- What the web API becomes for a visitor, for a signed-in user, and for the back end.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'anon') THEN
        CREATE ROLE anon NOLOGIN NOINHERIT;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'authenticated') THEN
        CREATE ROLE authenticated NOLOGIN NOINHERIT;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'service_role') THEN
        CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
    END IF;

    -- What the web API connects as. NOINHERIT: it has nothing of its own until it says SET ROLE.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'authenticator') THEN
        CREATE ROLE authenticator LOGIN PASSWORD 'authenticator' NOINHERIT;
        GRANT anon, authenticated, service_role TO authenticator;
    END IF;

    -- Looks at a staging database without being able to change it.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'staging_reader') THEN
        CREATE ROLE staging_reader LOGIN PASSWORD 'staging_reader';
    END IF;
END
$$;
