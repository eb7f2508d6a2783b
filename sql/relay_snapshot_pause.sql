-- Pauses ($2), or lets go on, the replays that signals of slot $1 have asked for before
-- commit $4, change $5, with the reason $3 and audit rows. relay_replay_signal_idx.
WITH changed AS (
    UPDATE gapless.relay_replay
    SET paused = $2::boolean
    WHERE slot = $1 AND signal_lsn IS NOT NULL AND finished_at IS NULL AND paused <> $2::boolean
      AND (signal_lsn, signal_index) < ($4::text::pg_lsn, $5::bigint)
    RETURNING id
)
INSERT INTO gapless.audit (action, target, reason)
SELECT CASE WHEN $2::boolean THEN 'relay replay pause' ELSE 'relay replay resume' END, 'replay ' || id, $3::text FROM changed
