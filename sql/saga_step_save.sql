-- Writes the steps that a batch started or settled.
-- Index: saga_step_pkey. Locks: the rows written; their saga is locked already.
INSERT INTO gapless.saga_step AS s (saga_id, step, direction, step_id, status, attempts, command_id, reply_id, reply_type, error, finished_at)
SELECT saga_id, step, direction, step_id, status, attempts, command_id, reply_id, nullif(reply_type, ''), nullif(error, ''),
       CASE WHEN status <> 'sent' THEN clock_timestamp() END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::int[], $7::uuid[], $8::uuid[], $9::text[], $10::text[])
    AS t (saga_id, step, direction, step_id, status, attempts, command_id, reply_id, reply_type, error)
ON CONFLICT (saga_id, step, direction) DO UPDATE
SET status = excluded.status, attempts = excluded.attempts, command_id = coalesce(excluded.command_id, s.command_id),
    reply_id = coalesce(excluded.reply_id, s.reply_id), reply_type = coalesce(excluded.reply_type, s.reply_type),
    error = excluded.error, finished_at = excluded.finished_at
