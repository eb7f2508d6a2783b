-- Writes the sagas of a batch as they are after its last message. A timer of
-- 0 leaves the deadline, a negative one takes it away.
-- Index: saga_pkey. Locks: rows that saga_lock or saga_due holds already.
UPDATE gapless.saga AS s
SET status = t.status, step = t.step, reason = nullif(t.reason, ''), data = t.data, cancel_wanted = t.cancel_wanted,
    command_seq = t.command_seq, traceparent = coalesce(nullif(t.traceparent, ''), s.traceparent),
    version = s.version + 1, updated_at = clock_timestamp(),
    deadline = CASE WHEN t.timer > 0 THEN clock_timestamp() + t.timer * interval '1 microsecond' WHEN t.timer = 0 THEN s.deadline END,
    finished_at = CASE WHEN t.status IN ('completed', 'cancelled') THEN clock_timestamp() END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::boolean[], $7::bigint[], $8::text[], $9::bigint[])
    AS t (saga_id, status, step, reason, data, cancel_wanted, command_seq, traceparent, timer)
WHERE s.saga_id = t.saga_id
