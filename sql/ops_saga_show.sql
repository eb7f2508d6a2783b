-- One saga, by its own id or its order's: saga_pkey, saga_order_id_type_key.
SELECT s.saga_id, s.order_id, s.type, s.status, s.step, coalesce(s.reason, '') AS reason, coalesce(k.why, '') AS why,
       s.cancel_wanted, s.deadline, s.started_at, s.updated_at, s.finished_at
FROM gapless.saga AS s
LEFT JOIN gapless.saga_stuck AS k USING (saga_id)
WHERE s.saga_id = @id OR s.order_id = @id
LIMIT 1
