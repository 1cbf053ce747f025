-- level: warning
-- stage: preflight
SELECT
    format('trigger %s on public.%s', t.tgname, found.name) AS object,
    'looks at client_id before each insert: where the application names no client, it finds the default organization '
        'there, and not NULL, after the migration' AS problem,
    format('see that it does not take NULL for a client that was not named; or leave the table out on purpose with '
        '--skip-table %s', found.name) AS action
FROM :tables_found AS found (name, time_column)
JOIN pg_attribute AS a ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
JOIN pg_trigger AS t ON t.tgrelid = a.attrelid AND t.tgenabled IN ('O', 'A')
JOIN pg_proc AS p ON p.oid = t.tgfoid
-- the default is still to come
WHERE NOT a.atthasdef
    AND NOT ARRAY[format('add_client_id(%s)', found.name), format('set_client_id_default(%s)', found.name)] && :standing
    -- the bits of tgtype: 1 FOR EACH ROW, 2 BEFORE, 4 INSERT
    AND t.tgtype & 7 = 7
    AND (p.prosrc || pg_get_triggerdef(t.oid)) ~ '\mclient_id\M';
