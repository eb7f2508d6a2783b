-- Keys whose rows must queue behind a parked one. $1 slot. parked_open_idx.
SELECT DISTINCT relation, row_key
FROM gapless.parked
WHERE slot = $1 AND status IN ('parked', 'waiting', 'redriving') AND row_key IS NOT NULL AND blocks
