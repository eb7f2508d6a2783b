-- Sagas, last moved first; a filter that is empty takes all.
-- Index: saga_open_idx for open ones; saga_order_id_type_key. Locks: ACCESS SHARE.
SELECT s.saga_id, s.order_id, s.type, s.status, s.step, coalesce(s.reason, '') AS reason, coalesce(k.why, '') AS why,
       s.cancel_wanted, s.deadline, s.started_at, s.updated_at, s.finished_at
FROM gapless.saga AS s
LEFT JOIN gapless.saga_stuck AS k USING (saga_id)
WHERE (@status::text = '' OR s.status = @status)
  AND (@order_id::uuid IS NULL OR s.order_id = @order_id)
  AND (NOT @open::boolean OR s.finished_at IS NULL)
  AND (NOT @stuck::boolean OR k.saga_id IS NOT NULL)
  AND s.updated_at >= @since::timestamptz
ORDER BY s.updated_at DESC
LIMIT @limit
