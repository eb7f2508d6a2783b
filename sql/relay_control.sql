-- What operators want of the relays of slot $1: that they pause, and who says so;
-- and whether requests are open. relay_control_pkey, relay_request_open_idx.
SELECT coalesce((SELECT format('%s: %s', actor, reason) FROM gapless.relay_control WHERE slot = $1 AND paused), '') AS why,
       EXISTS (SELECT FROM gapless.relay_control WHERE slot = $1 AND paused) AS paused,
       EXISTS (SELECT FROM gapless.relay_request WHERE slot = $1 AND finished_at IS NULL) AS requested
