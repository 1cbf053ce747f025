-- level: error
-- stage: preflight
SELECT
    'public.' || target.name AS object,
    'is UNLOGGED, and no table that is logged may refer to it' AS problem,
    format('ALTER TABLE public.%I SET LOGGED', target.name) AS action
FROM (VALUES ('users'), ('organizations')) AS target (name)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || target.name)
WHERE c.relpersistence = 'u';
