-- Stores how far replay $1 is, unless another process has taken it over since ($2).
-- relay_replay_pkey.
UPDATE gapless.relay_replay
SET place = $3, sent = $4, held = $5, failed = $6, error = $7, updated_at = clock_timestamp(),
    finished_at = CASE WHEN $8::boolean THEN clock_timestamp() END
WHERE id = $1 AND runs = $2
