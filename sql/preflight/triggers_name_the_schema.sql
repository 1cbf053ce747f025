-- level: warning
-- stage: preflight, rollback
SELECT
    p.oid::regprocedure::text AS object,
    format('is run by %s with an empty search_path, and names %s without its schema: it fails (42P01), and the run '
        'with it', string_agg(DISTINCT fired.by, ', '), string_agg(DISTINCT c.relname, ', ')) AS problem,
    format('name the schema in it, or ALTER FUNCTION %s SET search_path = %s', p.oid::regprocedure,
        string_agg(DISTINCT c.relnamespace::regnamespace::text, ', ')) AS action
FROM (
    SELECT evtfoid, 'event trigger ' || evtname
    FROM pg_event_trigger
    WHERE evtenabled IN ('O', 'A') AND evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop')
    UNION ALL
    -- no row is written but those of a client_id that was there before, and may have been NULL
    SELECT t.tgfoid, format('trigger %s on public.%s', t.tgname, found.name)
    FROM :tables_found AS found (name, time_column)
    JOIN pg_attribute AS a ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
    JOIN pg_trigger AS t ON t.tgrelid = a.attrelid AND t.tgenabled IN ('O', 'A')
    WHERE t.tgtype & 16 = 16 AND (t.tgattr::text = '' OR a.attnum = ANY (t.tgattr))
        AND 'add_client_id(' || found.name || ')' <> ALL (:standing)
        AND (NOT a.attnotnull OR 'require_client_id(' || found.name || ')' = ANY (:standing))
) AS fired (function, by)
JOIN pg_proc AS p ON p.oid = fired.function
CROSS JOIN LATERAL regexp_matches(p.prosrc, '\m(from|join|into|update|only)\s+"?(\w+)\M(?!"?\s*\.)', 'gi') AS word
JOIN pg_class AS c ON c.relname IN (word[2], lower(word[2])) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
WHERE NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search_path=%')
GROUP BY p.oid;
