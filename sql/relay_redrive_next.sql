-- The next rows that may go out for requests $2 of slot $1: of each key, in the
-- log's order, up to the first that is parked and not to be redriven. $3 bounds
-- rows and keys, $4 bytes; one row there is in any case. parked_request_idx,
-- parked_open_idx.
WITH heads AS (
    SELECT k.relation, k.row_key
    FROM (
        SELECT DISTINCT relation, row_key
        FROM gapless.parked
        WHERE request = ANY ($2::bigint[]) AND row_key IS NOT NULL AND blocks
    ) AS k
    CROSS JOIN LATERAL (
        SELECT p.status
        FROM gapless.parked AS p
        WHERE p.slot = $1 AND p.relation = k.relation AND md5(p.row_key) = md5(k.row_key) AND p.row_key = k.row_key
          AND p.blocks AND p.status IN ('parked', 'waiting', 'redriving')
        ORDER BY p.commit_lsn, p.commit_index, p.timeline
        LIMIT 1
    ) AS head
    WHERE head.status <> 'parked'
    ORDER BY k.relation, k.row_key
    LIMIT $3
), candidates AS (
    SELECT r.*, count(*) FILTER (WHERE r.status = 'parked') OVER (PARTITION BY r.relation, r.row_key
                                                                 ORDER BY r.commit_lsn, r.commit_index, r.timeline) AS stops
    FROM heads AS h
    CROSS JOIN LATERAL (
        SELECT p.*
        FROM gapless.parked AS p
        WHERE p.slot = $1 AND p.relation = h.relation AND md5(p.row_key) = md5(h.row_key) AND p.row_key = h.row_key
          AND p.blocks AND p.status IN ('parked', 'waiting', 'redriving')
        ORDER BY p.commit_lsn, p.commit_index, p.timeline
        LIMIT $3
    ) AS r
    UNION ALL
    SELECT p.*, 0
    FROM gapless.parked AS p
    WHERE p.request = ANY ($2::bigint[]) AND p.status = 'redriving' AND (p.row_key IS NULL OR NOT p.blocks)
), sized AS (
    SELECT c.*, row_number() OVER w AS n, sum(coalesce(octet_length(c.record_value), 0) + coalesce(octet_length(c.source::text), 0)) OVER w AS bytes
    FROM candidates AS c
    WHERE c.stops = 0
    WINDOW w AS (ORDER BY c.commit_lsn, c.commit_index, c.timeline)
)
SELECT id, coalesce(event_id, '00000000-0000-0000-0000-000000000000') AS event_id, relation, row_key, topic, record_key, record_value, headers,
       record_timestamp, coalesce(record_partition, -1) AS record_partition, system_id, timeline, commit_lsn::text AS commit_lsn, commit_index,
       committed_at, source, status, blocks
FROM sized
WHERE n = 1 OR n <= $3 AND bytes <= $4
ORDER BY n
