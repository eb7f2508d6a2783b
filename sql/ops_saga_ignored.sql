-- Replies that moved nothing: saga_ignored_reply_pkey.
SELECT event_id, type, step_id, why, received_at
FROM gapless.saga_ignored_reply
WHERE saga_id = @id
ORDER BY received_at
