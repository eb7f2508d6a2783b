-- The steps of a saga in the order in which they were started: saga_step_pkey.
SELECT step, direction, step_id, status, attempts, command_id, reply_id, coalesce(reply_type, '') AS reply_type,
       coalesce(error, '') AS error, started_at, finished_at
FROM gapless.saga_step
WHERE saga_id = @id
ORDER BY started_at, step_id
