-- How far request @id is. relay_request_pkey, parked_request_idx.
SELECT r.finished_at IS NOT NULL AS finished,
       count(p.id) FILTER (WHERE p.status = 'redriven') AS sent,
       count(p.id) FILTER (WHERE p.status = 'discarded') AS discarded,
       count(p.id) FILTER (WHERE p.status = 'parked') AS failed,
       count(p.id) FILTER (WHERE p.status = 'redriving') AS left_over,
       coalesce(min(p.reason || ': ' || p.error) FILTER (WHERE p.status = 'parked'), '') AS fault
FROM gapless.relay_request AS r
LEFT JOIN gapless.parked AS p ON p.request = r.id
WHERE r.id = @id
GROUP BY r.finished_at
