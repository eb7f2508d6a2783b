-- Writes one event to the WAL alone: no table, no index, no clean-up. It
-- becomes visible to the relay when the transaction commits.
SELECT pg_logical_emit_message(true, 'gapless.outbox', $1::text)
