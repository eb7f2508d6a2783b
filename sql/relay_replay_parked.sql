-- Which of the keys $3 of table $2 have parked rows that block them. parked_open_idx.
SELECT DISTINCT row_key
FROM gapless.parked
WHERE slot = $1 AND relation = $2 AND md5(row_key) IN (SELECT md5(k) FROM unnest($3::text[]) AS k) AND row_key = ANY ($3::text[])
  AND status IN ('parked', 'waiting', 'redriving') AND blocks
