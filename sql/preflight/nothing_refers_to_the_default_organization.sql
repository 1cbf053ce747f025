-- level: error
-- stage: rollback
-- each: foreign key to the default organization
SELECT
    format('constraint %s on %I.%I', :'constraint', :'schema', :'table') AS object,
    format('%s rows refer to the default organization, which the rollback deletes: %s', count(*), :'definition')
        AS problem,
    format('give them to another organization, or delete them, and run the rollback again: SELECT * FROM %I.%I '
        'WHERE (%s) = (SELECT %s FROM public.organizations WHERE id = %L)',
        :'schema', :'table', :'columns_text', :'referred_text', :'default_organization') AS action
FROM :"schema".:"table"
WHERE (:columns) = (SELECT :referred FROM public.organizations WHERE id = :'default_organization')
    -- an organization that is its own parent keeps nobody
    AND (tableoid, ctid) <> (SELECT tableoid, ctid FROM public.organizations WHERE id = :'default_organization')
HAVING count(*) > 0;
