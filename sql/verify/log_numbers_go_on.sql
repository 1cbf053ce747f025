-- level: error
-- stage: preflight, rollback, verify
-- each: log with a sequence
SELECT
    'public.migration_log.id' AS object,
    format('has got as far as %s, and its sequence would give %s to the next entry', log.number, sequence.number)
        AS problem,
    format('SELECT setval(%L, %s)', :'log_sequence', log.number) AS action
FROM (SELECT max(id) FROM public.migration_log) AS log (number)
CROSS JOIN (SELECT last_value + is_called::int FROM :log_sequence) AS sequence (number)
WHERE sequence.number <= log.number;
