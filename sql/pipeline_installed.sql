-- What the services find in this database: the order pipeline, and the inbox.
-- Reads the catalogue alone.
SELECT to_regnamespace('checkout') IS NOT NULL AS pipeline,
       to_regclass('gapless.inbox') IS NOT NULL AS inbox
