-- What an operator looks at first.

-- +goose Up

-- One row a consumer and generation. The consumers are found by hopping from one
-- key of inbox_pkey to the next, and only the last ten minutes of event ids are
-- counted (ids are UUIDv7): both stay quick on a large inbox.
CREATE VIEW gapless.inbox_status AS
WITH RECURSIVE known AS (
    (SELECT i.consumer, i.generation
     FROM gapless.inbox AS i
     ORDER BY i.consumer, i.generation
     LIMIT 1)
    UNION ALL
    SELECT n.consumer, n.generation
    FROM known AS k
    CROSS JOIN LATERAL (
        SELECT i.consumer, i.generation
        FROM gapless.inbox AS i
        WHERE (i.consumer, i.generation) > (k.consumer, k.generation)
        ORDER BY i.consumer, i.generation
        LIMIT 1
    ) AS n
), consumers AS (
    SELECT consumer, generation FROM known
    UNION
    SELECT consumer, generation FROM gapless.dead_letter WHERE status = 'parked'
    UNION
    SELECT consumer, generation FROM gapless.inbox_assignment
)
SELECT c.consumer,
       c.generation,
       r.applied,
       r.ignored,
       r.parked,
       r.waiting,
       l.applied_at AS last_applied_at,
       l.event_id AS last_event_id,
       (SELECT count(*) FROM gapless.inbox_attempt AS a WHERE (a.consumer, a.generation) = (c.consumer, c.generation)) AS retrying,
       (SELECT count(*) FROM gapless.key_block AS b WHERE (b.consumer, b.generation) = (c.consumer, c.generation)) AS blocked_keys,
       (SELECT min(b.blocked_at) FROM gapless.key_block AS b WHERE (b.consumer, b.generation) = (c.consumer, c.generation)) AS blocked_since,
       (SELECT count(*) FROM gapless.key_block_message AS m WHERE (m.consumer, m.generation) = (c.consumer, c.generation)) AS waiting_messages,
       (SELECT count(*) FROM gapless.dead_letter AS d WHERE (d.consumer, d.generation) = (c.consumer, c.generation) AND d.status = 'parked') AS dead_letters,
       (SELECT count(*) FROM gapless.inbox_assignment AS p WHERE (p.consumer, p.generation) = (c.consumer, c.generation)) AS assigned_partitions
FROM consumers AS c
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE i.outcome = 'applied') AS applied,
           count(*) FILTER (WHERE i.outcome = 'ignored') AS ignored,
           count(*) FILTER (WHERE i.outcome = 'parked') AS parked,
           count(*) FILTER (WHERE i.outcome = 'waiting') AS waiting
    FROM gapless.inbox AS i
    WHERE i.consumer = c.consumer AND i.generation = c.generation
      AND i.event_id >= gapless.uuid7_floor(now() - interval '10 minutes')
) AS r
LEFT JOIN LATERAL (
    SELECT i.applied_at, i.event_id
    FROM gapless.inbox AS i
    WHERE i.consumer = c.consumer AND i.generation = c.generation
    ORDER BY i.event_id DESC
    LIMIT 1
) AS l ON true;

COMMENT ON VIEW gapless.inbox_status IS 'One row a consumer and generation. applied, ignored, parked and waiting count events made in the last ten minutes; the other columns count all there is.';

-- Sagas that do not move by themselves any more, or not in time.
CREATE VIEW gapless.saga_stuck AS
SELECT s.saga_id,
       s.order_id,
       s.type,
       s.status,
       s.step,
       s.reason,
       CASE
           WHEN s.status = 'needs_attention' THEN 'a person must act'
           WHEN s.deadline < now() - interval '1 minute' THEN 'its timer is overdue: does the saga consumer run?'
           WHEN s.status <> 'waiting' AND s.deadline IS NULL THEN 'it runs without a timer'
           ELSE 'it has not moved for five minutes'
       END AS why,
       s.deadline,
       s.updated_at,
       (now() - s.updated_at)::interval(0) AS idle,
       p.direction,
       p.step_id,
       p.status AS step_status,
       p.attempts,
       p.error
FROM gapless.saga AS s
LEFT JOIN LATERAL (
    SELECT *
    FROM gapless.saga_step AS p
    WHERE p.saga_id = s.saga_id
    ORDER BY p.started_at DESC
    LIMIT 1
) AS p ON true
WHERE s.finished_at IS NULL
  AND (s.status = 'needs_attention'
       OR s.deadline < now() - interval '1 minute'
       OR (s.status <> 'waiting' AND (s.deadline IS NULL OR s.updated_at < now() - interval '5 minutes')));

COMMENT ON VIEW gapless.saga_stuck IS 'Sagas that a person should look at, with their last step. A saga that waits for a review is not stuck.';

SELECT gapless.grant_if_role('SELECT', 'TABLE gapless.inbox_status, gapless.saga_stuck', r)
FROM unnest(ARRAY['gapless_owner', 'gapless_app', 'gapless_relay', 'gapless_consumer', 'gapless_readonly']) AS r;

-- +goose Down

DROP VIEW gapless.saga_stuck;
DROP VIEW gapless.inbox_status;
