-- Row $3 was tried again in vain, says relay $2 of slot $1. parked_pkey.
UPDATE gapless.parked
SET status = 'parked', attempts = attempts + 1, reason = $4, error = $5
WHERE id = $3 AND status IN ('redriving', 'waiting')
  AND EXISTS (SELECT FROM gapless.relay_progress WHERE slot = $1 AND incarnation = $2)
