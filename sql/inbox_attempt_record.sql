-- Counts $7 tries (0 or 1) at a message, in a transaction of its own; returns
-- all tries so far and when the first one was. It need not be durable: it has to
-- outlive this process, not the server, and a fsync for each suspect is a long
-- wait after a crash.
-- Index: inbox_attempt_pkey. Locks: the row.
INSERT INTO gapless.inbox_attempt AS a (consumer, generation, topic, partition, "offset", event_id, attempts, error)
SELECT $1, $2, $3, $4, $5, $6, $7, $8
FROM set_config('synchronous_commit', 'off', true)
ON CONFLICT (consumer, generation, topic, partition, "offset") DO UPDATE
SET attempts = a.attempts + EXCLUDED.attempts, error = coalesce(nullif(EXCLUDED.error, ''), a.error), last_failed_at = clock_timestamp()
RETURNING attempts, first_failed_at
