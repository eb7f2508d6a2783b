-- Parks a row that the broker would not take, or one that waits behind it. A
-- row parked before a crash is found by its position: parked_position_key.
INSERT INTO gapless.parked (slot, event_id, relation, row_key, topic, record_key, record_value, headers,
                            record_timestamp, timeline, commit_lsn, commit_index, status, reason, error, record_partition)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::pg_lsn, $12, $13, $14, $15, nullif($16::int, -1))
ON CONFLICT ON CONSTRAINT parked_position_key DO NOTHING
