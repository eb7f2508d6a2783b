-- Blocked keys, why, and how many messages wait behind each.
SELECT b.consumer, b.generation, b.topic, encode(b.key, 'escape') AS key, b.blocked_at,
       d.dead_letter_id, d.type, d.reason, d.error, d.attempts,
       (SELECT count(*) FROM gapless.key_block_message AS m
        WHERE m.consumer = b.consumer AND m.generation = b.generation AND m.topic = b.topic AND m.key_hash = b.key_hash) AS waiting
FROM gapless.key_block AS b
JOIN gapless.dead_letter AS d ON d.dead_letter_id = b.dead_letter_id
ORDER BY b.blocked_at
