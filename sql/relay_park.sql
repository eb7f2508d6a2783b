-- Parks a row that the broker would not take, or one that waits behind it, for
-- the relay that has the slot: no row for one that lost it. A row parked before a
-- crash is found by its position: parked_position_key. Row lock: relay_progress.
INSERT INTO gapless.parked (slot, event_id, relation, row_key, topic, record_key, record_value, headers, record_timestamp,
                            record_partition, system_id, timeline, commit_lsn, commit_index, committed_at, source, status, blocks, reason, error)
SELECT slot, @event_id::uuid, @relation, @row_key::text, @topic, @record_key::bytea, @record_value::bytea, @headers::jsonb, @record_timestamp::timestamptz,
       nullif(@record_partition::int, -1), system_id, @timeline::int, @commit_lsn::text::pg_lsn, @commit_index::bigint, @committed_at::timestamptz, @source::jsonb,
       @status, @blocks::boolean, @reason, @error
FROM gapless.relay_progress
WHERE slot = @slot AND incarnation = @incarnation
FOR SHARE
ON CONFLICT ON CONSTRAINT parked_position_key DO NOTHING
