-- Keys that wait for a dead letter, oldest first, and how much waits behind each.
-- Index: key_block_message_pkey. Locks: ACCESS SHARE.
SELECT b.consumer, b.generation, b.topic, coalesce(encode(b.key, 'escape'), '') AS key,
       b.dead_letter_id, b.blocked_at, d.partition, d.reason,
       (SELECT count(*)
        FROM gapless.key_block_message AS m
        WHERE (m.consumer, m.generation, m.topic, m.key_hash) = (b.consumer, b.generation, b.topic, b.key_hash)) AS waiting
FROM gapless.key_block AS b
JOIN gapless.dead_letter AS d USING (dead_letter_id)
ORDER BY b.blocked_at
LIMIT @limit
