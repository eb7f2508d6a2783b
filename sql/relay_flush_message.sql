-- Does what relay_flush.sql does, for a login that may not make a large object. Other
-- streams of the database may have the message: Debezium makes a record of each.
SELECT pg_logical_emit_message(true, 'gapless.flush', '')::text
