-- Of the keys that requests $2 of slot $1 concern: whether rows of them still
-- wait. parked_request_idx, parked_open_idx.
SELECT k.relation, k.row_key,
       EXISTS (
           SELECT FROM gapless.parked AS p
           WHERE p.slot = $1 AND p.relation = k.relation AND md5(p.row_key) = md5(k.row_key) AND p.row_key = k.row_key
             AND p.blocks AND p.status IN ('parked', 'waiting', 'redriving')
       ) AS blocked
FROM (
    SELECT DISTINCT relation, row_key
    FROM gapless.parked
    WHERE request = ANY ($2::bigint[]) AND row_key IS NOT NULL AND blocks
) AS k
