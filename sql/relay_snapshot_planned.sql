-- What replay $1 sends: request $3, rows that snapshot $4 sees, how many ($5) and from when
-- to when. Nothing if another process has taken it over since ($2), or it was stopped.
-- relay_replay_pkey.
UPDATE gapless.relay_replay
SET planned = true, request = $3::jsonb, snapshot = $4::text::pg_snapshot, rows = $5, first_at = $6, last_at = $7, updated_at = clock_timestamp()
WHERE id = $1 AND runs = $2 AND finished_at IS NULL
