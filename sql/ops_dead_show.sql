-- One dead letter with its message, by its own id or its event's:
-- dead_letter_pkey, dead_letter_event_id_idx. Of several, the newest.
SELECT d.dead_letter_id, d.consumer, d.generation, d.event_id, coalesce(d.type, '') AS type, d.topic, d.partition, d."offset",
       coalesce(encode(d.key, 'escape'), '') AS key, d.status, d.reason, d.error, d.attempts,
       d.first_failed_at, d.last_failed_at,
       (SELECT count(*)
        FROM gapless.key_block AS b
        JOIN gapless.key_block_message AS m
          ON (m.consumer, m.generation, m.topic, m.key_hash) = (b.consumer, b.generation, b.topic, b.key_hash)
        WHERE b.dead_letter_id = d.dead_letter_id) AS waiting,
       d.record_timestamp, d.key AS key_bytes, d.value, d.headers
FROM gapless.dead_letter AS d
WHERE d.dead_letter_id = @id OR d.event_id = @id
ORDER BY d.last_failed_at DESC
LIMIT 1
