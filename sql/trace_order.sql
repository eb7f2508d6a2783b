-- Request, order and saga of an order: orders_pkey, saga_order_id_type_key,
-- saga_step_pkey. Keys of requests have no index by order, but were written in
-- the order's transaction, by two clocks: idempotency_key_created_at_idx.
SELECT at, store, what, id, detail
FROM (
    SELECT k.created_at AS at, 'request' AS store, format('%s answered %s', k.route, k.status_code) AS what, k.key AS id,
           jsonb_build_object('principal', k.principal, 'route', k.route, 'status_code', k.status_code) AS detail
    FROM checkout.orders AS o
    JOIN gapless.idempotency_key AS k
      ON k.order_id = o.order_id AND k.created_at BETWEEN o.created_at - interval '30 s' AND o.created_at + interval '30 s'
    WHERE o.order_id = @order
    UNION ALL
    SELECT o.created_at, 'order', format('placed by %s: %s %s, %s', o.customer_id, round(o.total_minor / 100.0, 2), o.currency, o.plan), o.order_id::text,
           jsonb_build_object('customer_id', o.customer_id, 'total_minor', o.total_minor, 'currency', o.currency, 'plan', o.plan)
    FROM checkout.orders AS o
    WHERE o.order_id = @order
    UNION ALL
    SELECT o.updated_at, 'order', o.status || coalesce(' (' || o.reason || ')', ''), o.order_id::text,
           jsonb_build_object('status', o.status, 'reason', o.reason, 'stock_status', o.stock_status, 'version', o.version)
    FROM checkout.orders AS o
    WHERE o.order_id = @order AND o.version > 1
    UNION ALL
    SELECT s.started_at, 'saga', 'started', s.saga_id::text, jsonb_build_object('type', s.type, 'definition', s.definition)
    FROM gapless.saga AS s
    WHERE s.order_id = @order
    UNION ALL
    SELECT coalesce(s.finished_at, s.updated_at), 'saga',
           s.status || CASE WHEN s.finished_at IS NULL AND s.step <> '' THEN ' at ' || s.step ELSE '' END || coalesce(' (' || s.reason || ')', ''),
           s.saga_id::text,
           jsonb_build_object('status', s.status, 'step', s.step, 'reason', s.reason, 'deadline', s.deadline, 'cancel_wanted', s.cancel_wanted)
    FROM gapless.saga AS s
    WHERE s.order_id = @order
    UNION ALL
    SELECT t.started_at, 'saga step', format('%s %s sent', t.direction, t.step), t.step_id::text,
           jsonb_build_object('step', t.step, 'direction', t.direction, 'attempts', t.attempts, 'command_id', t.command_id)
    FROM gapless.saga AS s
    JOIN gapless.saga_step AS t USING (saga_id)
    WHERE s.order_id = @order
    UNION ALL
    SELECT t.finished_at, 'saga step', format('%s %s %s', t.direction, t.step, t.status) || coalesce(' by ' || t.reply_type, ''), t.step_id::text,
           jsonb_build_object('step', t.step, 'direction', t.direction, 'status', t.status, 'reply_id', t.reply_id, 'reply_type', t.reply_type)
    FROM gapless.saga AS s
    JOIN gapless.saga_step AS t USING (saga_id)
    WHERE s.order_id = @order AND t.finished_at IS NOT NULL
    UNION ALL
    SELECT g.received_at, 'saga', format('ignored %s: %s', g.type, g.why), g.event_id::text, jsonb_build_object('type', g.type, 'step_id', g.step_id, 'why', g.why)
    FROM gapless.saga AS s
    JOIN gapless.saga_ignored_reply AS g USING (saga_id)
    WHERE s.order_id = @order
) AS e
ORDER BY at
