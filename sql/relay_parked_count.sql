-- Parked rows. $1 slot.
SELECT count(*) AS rows
FROM gapless.parked
WHERE slot = $1 AND status IN ('parked', 'waiting')
