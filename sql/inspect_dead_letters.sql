-- Dead letters that are still open, oldest first. Key and value are bytes: the
-- key is shown as text where it is one. SET gapless.consumer = 'payment' filters.
-- Index: dead_letter_open_idx. Locks: ACCESS SHARE.
SELECT dead_letter_id, consumer, generation, event_id, type, topic, partition, "offset",
       gapless.payload_json(key, 'text/plain') ->> 'raw' AS key,
       octet_length(value) AS value_bytes,
       reason, error, attempts, first_failed_at, last_failed_at
FROM gapless.dead_letter
WHERE status = 'parked'
  AND (coalesce(current_setting('gapless.consumer', true), '') IN ('', consumer))
ORDER BY first_failed_at
LIMIT 100
