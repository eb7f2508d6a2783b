-- Dead letters, newest first; a filter that is empty takes all.
-- Index: dead_letter_open_idx for parked ones. Locks: ACCESS SHARE.
SELECT d.dead_letter_id, d.consumer, d.generation, d.event_id, coalesce(d.type, '') AS type, d.topic, d.partition, d."offset",
       coalesce(encode(d.key, 'escape'), '') AS key, d.status, d.reason, d.error, d.attempts,
       d.first_failed_at, d.last_failed_at,
       (SELECT count(*)
        FROM gapless.key_block AS b
        JOIN gapless.key_block_message AS m
          ON (m.consumer, m.generation, m.topic, m.key_hash) = (b.consumer, b.generation, b.topic, b.key_hash)
        WHERE b.dead_letter_id = d.dead_letter_id) AS waiting
FROM gapless.dead_letter AS d
WHERE (@status::text = '' OR d.status = @status)
  AND (@consumer::text = '' OR d.consumer = @consumer)
  AND (@topic::text = '' OR d.topic = @topic)
  AND (@reason::text = '' OR d.reason = @reason)
  AND (@key::text = '' OR d.key = convert_to(@key, 'UTF8'))
  AND d.last_failed_at >= @since::timestamptz
ORDER BY d.last_failed_at DESC
LIMIT @limit
