-- level: warning
-- stage: preflight
-- each: table with NULL in client_id
SELECT
    format('%s on public.%s', its.name, :'table') AS object,
    'is applied to the rows whose client_id is filled, since the column was there before; where it keeps a row from '
        'being updated, the migration stops there (23514)' AS problem,
    'see what it does to a row that is updated' AS action
FROM (
    SELECT 'trigger ' || tgname
    FROM pg_trigger
    WHERE tgrelid = to_regclass('public.' || quote_ident(:'table')) AND NOT tgisinternal AND tgenabled IN ('O', 'A')
        AND tgtype & 16 = 16
        -- UPDATE OF other columns does not fire
        AND (tgattr::text = '' OR EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = tgrelid AND attname = 'client_id' AND attnum = ANY (tgattr)))
    UNION ALL
    -- an event of 2 is an UPDATE
    SELECT 'rule ' || rulename
    FROM pg_rewrite
    WHERE ev_class = to_regclass('public.' || quote_ident(:'table')) AND ev_enabled IN ('O', 'A') AND ev_type = '2'
) AS its (name)
WHERE EXISTS (SELECT FROM public.:"table" WHERE client_id IS NULL);
