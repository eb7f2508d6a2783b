-- Reads up to $1 sagas whose deadline has passed, by the database's clock, and
-- passes over those that a batch or another timer is moving right now, and those
-- in $2, which could not be moved a moment ago.
-- Index: saga_deadline_idx. Locks: the rows FOR UPDATE, without waiting.
SELECT saga_id, status, step, coalesce(reason, '') AS reason, data, cancel_wanted, command_seq, coalesce(traceparent, '') AS traceparent
FROM gapless.saga
WHERE deadline <= statement_timestamp() -- clock_timestamp is volatile: no index could be asked
  AND saga_id <> ALL ($2::uuid[])
ORDER BY deadline
LIMIT $1
FOR UPDATE SKIP LOCKED
