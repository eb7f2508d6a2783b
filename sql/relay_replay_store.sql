-- Stores how far replay $1 is, unless another process has taken it over since ($2), or the
-- database is on another history than the replay, see relay_replay_history.sql; and tells
-- whether it is paused, or was stopped meanwhile. relay_replay_pkey.
UPDATE gapless.relay_replay AS p
SET place = $3, sent = $4, held = $5, failed = $6, updated_at = clock_timestamp(),
    error = CASE WHEN p.finished_at IS NULL THEN $7 ELSE p.error END,
    finished_at = CASE WHEN p.finished_at IS NULL AND $8::boolean THEN clock_timestamp() ELSE p.finished_at END
FROM gapless.relay_progress AS r
WHERE p.id = $1 AND p.runs = $2 AND r.slot = p.slot AND r.system_id = p.system_id AND r.timeline = p.timeline
  AND p.timeline = ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
RETURNING p.paused, p.finished_at IS NOT NULL AND NOT $8::boolean AS stopped
