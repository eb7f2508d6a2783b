-- Requests $3 are done with, says relay $2 of slot $1. relay_request_pkey.
UPDATE gapless.relay_request
SET finished_at = clock_timestamp()
WHERE id = ANY ($3::bigint[]) AND finished_at IS NULL AND EXISTS (SELECT FROM gapless.relay_progress WHERE slot = $1 AND incarnation = $2)
