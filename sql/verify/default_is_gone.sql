-- level: warning
-- stage: verify
SELECT
    format('public.%s.client_id', found.name) AS object,
    'has no default any more: an insert that does not name the client fails (23502), and the old application names none'
        AS problem,
    format('nothing to do where a later phase has dropped it; else give it back: '
        'ALTER TABLE public.%I ALTER COLUMN client_id SET DEFAULT %L', found.name, :'default_organization') AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a
    ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id' AND NOT a.atthasdef
WHERE ARRAY[format('add_client_id(%s)', found.name), format('set_client_id_default(%s)', found.name)] && :standing;
