-- Reads the sagas of a batch. What moves a saga holds this lock, be it a
-- batch, the timer or an operator.
-- Index: saga_pkey. Locks: the rows FOR UPDATE, in order of saga_id.
SELECT saga_id, status, step, coalesce(reason, '') AS reason, data, cancel_wanted, command_seq, coalesce(traceparent, '') AS traceparent
FROM gapless.saga
WHERE saga_id = ANY ($1::uuid[])
ORDER BY saga_id
FOR UPDATE
