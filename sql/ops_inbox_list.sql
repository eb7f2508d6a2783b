-- The newest claims of each consumer; a filter that is empty takes all.
-- Index: inbox_pkey backwards, for each consumer. Locks: ACCESS SHARE.
SELECT i.consumer, i.generation, i.event_id, i.outcome, i.topic, i.partition, i."offset", coalesce(i.position, '') AS position, i.applied_at
FROM gapless.inbox_status AS s
CROSS JOIN LATERAL (
    SELECT *
    FROM gapless.inbox AS i
    WHERE i.consumer = s.consumer AND i.generation = s.generation
      AND (@event_id::uuid IS NULL OR i.event_id = @event_id)
      AND (@outcome::text = '' OR i.outcome = @outcome)
      AND (@topic::text = '' OR i.topic = @topic)
      AND i.applied_at >= @since::timestamptz
    ORDER BY i.event_id DESC
    LIMIT @limit
) AS i
WHERE @consumer::text = '' OR s.consumer = @consumer
ORDER BY i.event_id DESC, i.consumer, i.generation
LIMIT @limit
