-- One message for each event that notification has applied. That no message is
-- without a claim is the third invariant's.
WITH c AS (
    SELECT i.event_id::text AS id,
           CASE count(m.event_id) WHEN 1 THEN 'ok' ELSE 'broken' END AS verdict,
           format('applied, and %s messages', count(m.event_id)) AS detail
    FROM gapless.inbox AS i
    LEFT JOIN notification.messages AS m USING (event_id)
    WHERE i.consumer = @consumer AND i.generation = @generation AND i.outcome = 'applied'
    GROUP BY i.event_id
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
