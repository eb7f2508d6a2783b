-- What the services find in this database: the order pipeline and the inbox, and
-- whether this login may do api's and consume's work.
-- Reads the catalogue alone.
SELECT to_regnamespace('checkout') IS NOT NULL AS pipeline,
       to_regclass('gapless.inbox') IS NOT NULL AS inbox,
       CASE WHEN to_regclass('gapless.idempotency_key') IS NOT NULL THEN has_table_privilege('gapless.idempotency_key', 'INSERT') ELSE true END AS may_serve,
       CASE WHEN to_regclass('gapless.inbox_assignment') IS NOT NULL THEN has_table_privilege('gapless.inbox_assignment', 'INSERT') ELSE true END AS may_consume
