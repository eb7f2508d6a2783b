-- Parked rows that a filter chooses, with what waits behind each: it goes out
-- after it. ahead: an earlier parked row of the key that the filter leaves, behind
-- which it stays. parked_open_idx, parked_event_id_idx.
WITH chosen AS (
    SELECT p.*
    FROM gapless.parked AS p
    WHERE p.slot = @slot AND p.status = 'parked'
      AND (cardinality(@ids::uuid[]) = 0 OR p.id = ANY (@ids::uuid[]))
      AND (cardinality(@events::uuid[]) = 0 OR p.event_id = ANY (@events::uuid[]))
      AND (@topic::text = '' OR p.topic = @topic)
      AND (@key::text = '' OR p.row_key = @key)
      AND (@relation::text = '' OR p.relation = @relation)
      AND (@fault::text = '' OR p.reason = @fault)
      AND (@since::timestamptz IS NULL OR p.parked_at >= @since)
      AND (@until::timestamptz IS NULL OR p.parked_at < @until)
)
SELECT c.id, c.event_id, c.relation, c.row_key, c.topic, c.timeline || '/' || c.commit_lsn || '/' || c.commit_index AS position,
       c.reason, c.error, c.attempts, c.parked_at, c.blocks,
       (SELECT count(*) FROM gapless.parked AS w
        WHERE w.slot = c.slot AND w.relation = c.relation AND md5(w.row_key) = md5(c.row_key) AND w.row_key = c.row_key
          AND c.blocks AND w.blocks AND w.status IN ('parked', 'waiting', 'redriving')
          AND (w.commit_lsn, w.commit_index, w.timeline) > (c.commit_lsn, c.commit_index, c.timeline)) AS behind,
       EXISTS (SELECT FROM gapless.parked AS a
        WHERE a.slot = c.slot AND a.relation = c.relation AND md5(a.row_key) = md5(c.row_key) AND a.row_key = c.row_key
          AND c.blocks AND a.blocks AND a.status = 'parked' AND a.id NOT IN (SELECT id FROM chosen)
          AND (a.commit_lsn, a.commit_index, a.timeline) < (c.commit_lsn, c.commit_index, c.timeline)) AS ahead
FROM chosen AS c
ORDER BY c.commit_lsn, c.commit_index, c.timeline
