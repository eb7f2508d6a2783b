-- Parked rows. $1 slot. parked_open_idx.
SELECT count(*) AS rows
FROM gapless.parked
WHERE slot = $1 AND status IN ('parked', 'waiting', 'redriving')
