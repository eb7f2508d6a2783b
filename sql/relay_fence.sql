-- Whether relay $2 still has slot $1; until the transaction ends no other takes
-- it. relay_progress_pkey; row lock.
SELECT true AS held
FROM gapless.relay_progress
WHERE slot = $1 AND incarnation = $2
FOR SHARE
