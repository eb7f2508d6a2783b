-- Puts messages, claimed in this transaction, behind their blocked keys.
-- Index: inbox_pkey. Locks: ROW EXCLUSIVE on gapless.inbox and
-- gapless.key_block_message.
WITH waiting AS (
    INSERT INTO gapless.key_block_message (consumer, generation, topic, key, partition, "offset", event_id, type, record_timestamp, value, headers)
    SELECT $1, $2, u.*
    FROM unnest($3::text[], $4::bytea[], $5::int[], $6::bigint[], $7::uuid[], $8::text[], $9::timestamptz[], $10::bytea[], $11::jsonb[]) AS u
)
UPDATE gapless.inbox SET outcome = 'waiting'
WHERE consumer = $1 AND generation = $2 AND event_id = ANY ($7::uuid[])
  AND event_id BETWEEN $12 AND $13 -- the least and the greatest: else every partition is looked into
