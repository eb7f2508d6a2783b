-- Writes new sagas. One that exists already is refused by saga_pkey, and the
-- batch runs again. A timer of n microseconds is a deadline from now.
-- Locks: the rows made, in array order (sorted).
INSERT INTO gapless.saga (saga_id, type, definition, order_id, status, step, reason, data, cancel_wanted, command_seq, traceparent, deadline, finished_at)
SELECT saga_id, $2, $3, saga_id, status, step, nullif(reason, ''), data, cancel_wanted, command_seq, nullif(traceparent, ''),
       CASE WHEN timer > 0 THEN clock_timestamp() + timer * interval '1 microsecond' END,
       CASE WHEN status IN ('completed', 'cancelled') THEN clock_timestamp() END
FROM unnest($1::uuid[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::boolean[], $9::bigint[], $10::text[], $11::bigint[])
    AS t (saga_id, status, step, reason, data, cancel_wanted, command_seq, traceparent, timer)
