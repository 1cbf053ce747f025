-- level: error
-- stage: rollback
-- each: table whose client_id was required
SELECT
    format('public.%s.client_id', :'table') AS object,
    format('%s rows belong to an organization that the rollback deletes, and the column, which was NOT NULL before '
        'Phase 1 and stays, takes no NULL', count(*)) AS problem,
    format('let the rollback set them to NULL: ALTER TABLE public.%I ALTER COLUMN client_id DROP NOT NULL; or give '
        'them to an organization that stays', :'table') AS action
FROM public.:"table"
WHERE :belongs_to_deleted
HAVING count(*) > 0;
