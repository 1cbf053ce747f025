-- level: error
-- stage: preflight, rollback
SELECT
    'prepared transaction ' || quote_literal(p.gid) AS object,
    format('holds %s on public.%s until somebody ends it', l.mode, found.name) AS problem,
    format('COMMIT PREPARED %1$L or ROLLBACK PREPARED %1$L, as %2$I', p.gid, p.owner) AS action
FROM pg_prepared_xacts AS p
-- a transaction's locks have its virtualtransaction in common; a prepared one has no process
JOIN pg_locks AS own ON own.transactionid = p.transaction
JOIN pg_locks AS l ON l.pid IS NULL AND l.virtualtransaction = own.virtualtransaction
JOIN :tables_found AS found (name, time_column) ON l.relation = to_regclass('public.' || found.name)
WHERE p.database = current_database();
