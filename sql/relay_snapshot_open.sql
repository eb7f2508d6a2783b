-- The replays that signals of slot $1 have asked for and that are not at their end, in
-- their order. relay_replay_signal_idx.
SELECT id, request ->> 'table' AS table, paused
FROM gapless.relay_replay
WHERE slot = $1 AND signal_lsn IS NOT NULL AND finished_at IS NULL
ORDER BY signal_lsn, signal_index, id
