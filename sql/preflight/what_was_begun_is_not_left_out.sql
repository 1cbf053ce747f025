-- level: error
-- stage: preflight
SELECT
    'public.' || left_out.name AS object,
    'cannot be left out: a run that was stopped has begun with it' AS problem,
    'run the migration again and do not leave it out; or take it back with --rollback first' AS action
FROM unnest(:half_done) AS left_out (name);
