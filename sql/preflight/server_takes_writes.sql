-- level: error
-- stage: preflight, rollback
SELECT
    'server' AS object,
    CASE WHEN pg_is_in_recovery() THEN 'is a standby: it can be read only'
        ELSE 'transactions are read only by default here' END AS problem,
    CASE WHEN pg_is_in_recovery() THEN 'connect to the primary'
        ELSE 'use a role and a database without default_transaction_read_only' END AS action
WHERE pg_is_in_recovery()
    OR (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only') = 'on';
