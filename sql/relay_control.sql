-- Whether the relays of slot $1 shall pause, and who says so. Index
-- relay_control_pkey.
SELECT format('%s: %s', actor, reason) AS why
FROM gapless.relay_control
WHERE slot = $1 AND paused
