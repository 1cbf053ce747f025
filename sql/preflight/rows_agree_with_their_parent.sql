-- level: error
-- stage: preflight
-- each: child with client_id
SELECT
    'public.' || :'table' AS object,
    format('%s rows would belong to another client than the row of public.%s that their %s names',
        count(*), :'parent', :'column') AS problem,
    format('give them the client of what they belong to, in a column of their own: ALTER TABLE public.%1$I '
        'ADD COLUMN client_id uuid; UPDATE public.%1$I AS c SET client_id = p.client_id FROM public.%2$I AS p '
        'WHERE p.id = c.%3$I', :'table', :'parent', :'column') AS action
FROM public.:"table" AS c
JOIN public.:"parent" AS p ON p.id = c.:"column"
WHERE :client <> :parents_client
HAVING count(*) > 0;
