-- level: error
-- stage: preflight
-- each: table with client_id
SELECT
    format('public.%s.client_id', :'table') AS object,
    format('%s rows point to %s organizations that do not exist', count(*), count(DISTINCT client_id))
        AS problem,
    format('create those organizations, or set the values to NULL: SELECT client_id, count(*) FROM public.%I '
        'GROUP BY 1', :'table') AS action
FROM public.:"table" AS t
WHERE client_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM :organizations AS o WHERE o.id = t.client_id)
HAVING count(*) > 0;
