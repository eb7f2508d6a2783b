-- Open requests of slot $1. relay_request_open_idx.
SELECT id
FROM gapless.relay_request
WHERE slot = $1 AND finished_at IS NULL
