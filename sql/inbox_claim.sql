-- Claims events for a consumer; returns the ids that were not claimed before.
-- The ids come sorted: overlapping batches in different orders would deadlock.
-- A claim waits for a running twin and then sees how it ended.
-- Index: inbox_pkey. Locks: ROW EXCLUSIVE on gapless.inbox and the partitions
-- written, the new index entries.
INSERT INTO gapless.inbox (consumer, generation, event_id, outcome, topic, partition, "offset", position)
SELECT $1, $2, u.event_id, u.outcome, u.topic, u.partition, u."offset", u.position
FROM unnest($3::uuid[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::text[])
    AS u (event_id, outcome, topic, partition, "offset", position)
ON CONFLICT DO NOTHING
RETURNING event_id
