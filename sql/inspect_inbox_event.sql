-- What each consumer did with one event: SET gapless.event_id = '…'; without it,
-- the newest claims. Index: inbox_pkey for each consumer. Locks: ACCESS SHARE.
SELECT i.consumer, i.generation, i.event_id, i.outcome, i.topic, i.partition, i."offset", i.position, i.applied_at
FROM gapless.inbox_status AS s
CROSS JOIN LATERAL (
    SELECT *
    FROM gapless.inbox AS i
    WHERE i.consumer = s.consumer AND i.generation = s.generation
      AND i.event_id >= coalesce(nullif(current_setting('gapless.event_id', true), '')::uuid, '00000000-0000-0000-0000-000000000000')
      AND i.event_id <= coalesce(nullif(current_setting('gapless.event_id', true), '')::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ORDER BY i.event_id DESC
    LIMIT 20
) AS i
ORDER BY i.event_id DESC, i.consumer, i.generation
