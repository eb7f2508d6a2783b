-- Each claim that stands for a message put aside has that message: a dead
-- letter, or a place behind the key's block. Both are written in the claim's
-- own transaction, so that one snapshot is enough.
WITH c AS (
    SELECT i.consumer || ' ' || i.event_id AS id,
           CASE WHEN CASE i.outcome WHEN 'parked' THEN d.held ELSE w.held END THEN 'parked' ELSE 'broken' END AS verdict,
           format('outcome is %s, but its message is not kept', i.outcome) AS detail
    FROM gapless.inbox AS i
    CROSS JOIN LATERAL (SELECT EXISTS (
        SELECT FROM gapless.dead_letter AS d
        WHERE d.event_id = i.event_id AND d.consumer = i.consumer AND d.generation = i.generation) AS held) AS d
    CROSS JOIN LATERAL (SELECT EXISTS (
        SELECT FROM gapless.key_block_message AS m
        WHERE m.consumer = i.consumer AND m.generation = i.generation AND m.topic = i.topic
          AND m.event_id = i.event_id) AS held) AS w
    WHERE i.outcome IN ('parked', 'waiting')
)
SELECT count(*) FILTER (WHERE verdict IN ('ok', 'parked', 'broken')) AS judged,
       count(*) FILTER (WHERE verdict = 'young') AS too_young,
       count(*) FILTER (WHERE verdict = 'parked') AS parked,
       count(*) FILTER (WHERE verdict = 'expired') AS expired,
       count(*) FILTER (WHERE verdict = 'broken') AS broken,
       (array_agg(id ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS ids,
       (array_agg(detail ORDER BY id) FILTER (WHERE verdict = 'broken'))[1:@examples::int] AS details
FROM c
