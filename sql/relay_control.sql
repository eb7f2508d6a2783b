-- What operators want of the relays of slot $1: that they pause, and who says so;
-- whether requests are open, and whether somebody waits for the record. relay_control_pkey, relay_request_open_idx.
SELECT coalesce((SELECT format('%s: %s', actor, reason) FROM gapless.relay_control WHERE slot = $1 AND paused), '') AS why,
       EXISTS (SELECT FROM gapless.relay_control WHERE slot = $1 AND paused) AS paused,
       EXISTS (SELECT FROM gapless.relay_request WHERE slot = $1 AND finished_at IS NULL) AS requested,
       NOT pg_try_advisory_xact_lock(hashtext('gapless relay awaited'), hashtext($1)) AS awaited
