-- Whether replay $1 is paused, and whether it has ended. relay_replay_pkey.
SELECT paused, finished_at IS NOT NULL AS ended FROM gapless.relay_replay WHERE id = $1
