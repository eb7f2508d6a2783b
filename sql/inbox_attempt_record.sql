-- Counts $7 tries (0 or 1) at a message, in a transaction of its own; returns
-- all tries so far and when the first one was.
-- Index: inbox_attempt_pkey. Locks: the row.
INSERT INTO gapless.inbox_attempt AS a (consumer, generation, topic, partition, "offset", event_id, attempts, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (consumer, generation, topic, partition, "offset") DO UPDATE
SET attempts = a.attempts + EXCLUDED.attempts, error = EXCLUDED.error, last_failed_at = clock_timestamp()
RETURNING attempts, first_failed_at
