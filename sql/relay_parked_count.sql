-- Parked rows, and the time of the oldest. $1 slot.
SELECT count(*) AS rows, min(parked_at) AS oldest
FROM gapless.parked
WHERE slot = $1 AND status IN ('parked', 'waiting')
