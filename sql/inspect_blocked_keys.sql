-- Keys that wait for a dead letter, and how much waits behind each.
-- Index: key_block_message_pkey. Locks: ACCESS SHARE.
SELECT b.consumer, b.generation, b.topic,
       gapless.payload_json(b.key, 'text/plain') ->> 'raw' AS key,
       b.blocked_at, b.dead_letter_id, d.type, d.reason, d.error,
       (SELECT count(*)
        FROM gapless.key_block_message AS m
        WHERE (m.consumer, m.generation, m.topic, m.key_hash) = (b.consumer, b.generation, b.topic, b.key_hash)) AS waiting
FROM gapless.key_block AS b
JOIN gapless.dead_letter AS d ON d.dead_letter_id = b.dead_letter_id
ORDER BY b.blocked_at
LIMIT 100
