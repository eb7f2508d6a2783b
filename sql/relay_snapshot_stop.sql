-- Stops the replays $3 of slot $1, those that were asked for before commit $4, change $5, with
-- the reason $2 and audit rows. Who runs one finds out at its next page. relay_replay_pkey.
WITH stopped AS (
    UPDATE gapless.relay_replay
    SET finished_at = clock_timestamp(), error = 'stopped by ' || $2::text
    WHERE slot = $1 AND id = ANY ($3::uuid[]) AND finished_at IS NULL
      AND (signal_lsn, signal_index) < ($4::text::pg_lsn, $5::bigint)
    RETURNING id
)
INSERT INTO gapless.audit (action, target, reason)
SELECT 'relay replay stop', 'replay ' || id, $2::text FROM stopped
