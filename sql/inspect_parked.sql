-- Outbox rows that the relay could not deliver, and those that wait behind them.
-- Index: parked_open_idx. Locks: ACCESS SHARE.
SELECT id, slot, status, blocks, event_id, relation, row_key, topic, octet_length(record_value) AS value_bytes,
       timeline || '/' || commit_lsn || '/' || commit_index AS position, reason, error, attempts, parked_at
FROM gapless.parked
WHERE status IN ('parked', 'waiting', 'redriving')
ORDER BY slot, commit_lsn, commit_index, timeline
LIMIT 100
