-- Claims of events: inbox_pkey where the consumers are given, else a scan of
-- each partition's index.
SELECT event_id, consumer, generation, outcome, topic, partition, "offset", coalesce(position, '') AS position, applied_at
FROM gapless.inbox
WHERE event_id = ANY (@ids::uuid[])
  AND (@consumers::text[] IS NULL OR consumer = ANY (@consumers::text[]))
ORDER BY applied_at, consumer
