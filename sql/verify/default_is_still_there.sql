-- level: notice
-- stage: verify
SELECT
    'client_id' AS object,
    'has the default organization as its default, so that the old application goes on working' AS problem,
    'nothing to do now; a later phase drops it, once the application names the client' AS action
WHERE EXISTS (
    SELECT
    FROM :tables_found AS found (name, time_column)
    JOIN pg_attribute AS a ON a.attrelid = to_regclass('public.' || found.name) AND a.attname = 'client_id'
    WHERE a.atthasdef);
