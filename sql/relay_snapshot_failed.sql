-- Ends replay $1, which cannot be carried out for the reason $2. relay_replay_pkey.
UPDATE gapless.relay_replay
SET finished_at = clock_timestamp(), error = $2::text
WHERE id = $1 AND finished_at IS NULL
