-- Counts $7 tries (0 or 1) at each of these messages, in a transaction of its own;
-- returns all tries so far and when the first one was. It need not be durable: it
-- has to outlive this process, not the server, and a fsync for each suspect is a
-- long wait after a crash.
-- Index: inbox_attempt_pkey. Locks: the rows.
INSERT INTO gapless.inbox_attempt AS a (consumer, generation, topic, partition, "offset", event_id, attempts, error)
SELECT DISTINCT ON (m.topic, m.partition, m."offset") $1, $2::int, m.topic, m.partition, m."offset", m.event_id, $7::int, $8
FROM set_config('synchronous_commit', 'off', true),
     unnest($3::text[], $4::int[], $5::bigint[], $6::uuid[]) AS m (topic, partition, "offset", event_id)
ORDER BY m.topic, m.partition, m."offset"
ON CONFLICT (consumer, generation, topic, partition, "offset") DO UPDATE
SET attempts = a.attempts + EXCLUDED.attempts, error = coalesce(nullif(EXCLUDED.error, ''), a.error), last_failed_at = clock_timestamp()
RETURNING attempts, first_failed_at
