-- Rows $3 are in the sink, says relay $2 of slot $1. parked_pkey.
UPDATE gapless.parked
SET status = 'redriven', settled_at = clock_timestamp()
WHERE id = ANY ($3::uuid[]) AND status IN ('redriving', 'waiting')
  AND EXISTS (SELECT FROM gapless.relay_progress WHERE slot = $1 AND incarnation = $2)
