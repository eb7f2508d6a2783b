-- Replays, the newest first.
SELECT id, slot, request, rows, sent, held, failed, error, reason, actor, started_at, updated_at, finished_at, signal, paused
FROM gapless.relay_replay
WHERE @slot::text = '' OR slot = @slot
ORDER BY id DESC
LIMIT @limit
