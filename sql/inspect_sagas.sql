-- Sagas that are not over, longest idle first, with their last step.
-- SET gapless.order_id = '…' shows that order's saga, over or not.
-- Index: saga_open_idx; saga_order_id_type_key. Locks: ACCESS SHARE.
SELECT s.saga_id, s.order_id, s.type, s.status, s.step, s.reason, s.cancel_wanted, s.deadline, s.started_at, s.updated_at,
       p.direction, p.status AS step_status, p.attempts, p.reply_type, p.error
FROM gapless.saga AS s
LEFT JOIN LATERAL (
    SELECT *
    FROM gapless.saga_step AS p
    WHERE p.saga_id = s.saga_id
    ORDER BY p.started_at DESC
    LIMIT 1
) AS p ON true
WHERE CASE WHEN coalesce(current_setting('gapless.order_id', true), '') = ''
           THEN s.finished_at IS NULL
           ELSE s.order_id = current_setting('gapless.order_id', true)::uuid END
ORDER BY s.updated_at
LIMIT 100
