-- level: warning
-- stage: preflight
-- each: table with NULL in client_id
SELECT
    format('public.%s.client_id', :'table') AS object,
    format('%s rows belong to the default organization already; a rollback cannot tell them from those that '
        'Phase 1 fills, and will leave both as they are', count(*)) AS problem,
    'keep a copy of the key of the rows without a client, if it matters' AS action
FROM public.:"table"
WHERE client_id = :'default_organization' AND EXISTS (SELECT FROM public.:"table" WHERE client_id IS NULL)
    -- a run that was stopped has filled some itself, or its default has, and it knows
    AND NOT 'fill_client_id(' || :'table' || ')' = ANY (:standing)
    AND NOT 'set_client_id_default(' || :'table' || ')' = ANY (:standing)
HAVING count(*) > 0;
