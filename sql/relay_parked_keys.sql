-- Keys whose rows must queue behind a parked one. parked_open_idx.
SELECT DISTINCT relation, row_key
FROM gapless.parked
WHERE slot = $1 AND status IN ('parked', 'waiting') AND row_key IS NOT NULL
