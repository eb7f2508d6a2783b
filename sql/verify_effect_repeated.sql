-- A handler that ran twice for one event left two events of one type, for one
-- aggregate, with that event as their cause.
WITH c AS (
    SELECT e.headers ->> 'ce_causationid' || ' -> ' || e.type AS id,
           CASE count(*) WHEN 1 THEN 'ok' ELSE 'broken' END AS verdict,
           format('caused %s %s times for %s: %s', e.type, count(*), e.aggregateid, string_agg(e.id::text, ', ' ORDER BY e.id)) AS detail
    FROM gapless.outbox AS e
    WHERE e.headers ? 'ce_causationid'
    GROUP BY e.headers ->> 'ce_causationid', e.aggregatetype, e.aggregateid, e.type
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
