-- Stores how far replay $1 is, unless another process has taken it over since ($2), and tells
-- whether it is paused, or was stopped meanwhile. relay_replay_pkey.
UPDATE gapless.relay_replay
SET place = $3, sent = $4, held = $5, failed = $6, updated_at = clock_timestamp(),
    error = CASE WHEN finished_at IS NULL THEN $7 ELSE error END,
    finished_at = CASE WHEN finished_at IS NULL AND $8::boolean THEN clock_timestamp() ELSE finished_at END
WHERE id = $1 AND runs = $2
RETURNING paused, finished_at IS NOT NULL AND NOT $8::boolean AS stopped
