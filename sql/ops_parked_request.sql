-- Asks the relay of slot @slot for @action (redrive or discard) of parked rows
-- @ids, and leaves an audit row. What is no longer parked is left alone.
WITH asked AS (
    INSERT INTO gapless.relay_request (slot, action, filter, reason)
    VALUES (@slot, @action, @filter, @reason)
    RETURNING id
), marked AS (
    UPDATE gapless.parked AS p
    SET status = CASE @action WHEN 'redrive' THEN 'redriving' ELSE 'discarded' END,
        settled_at = CASE @action WHEN 'discard' THEN clock_timestamp() END,
        request = asked.id
    FROM asked
    WHERE p.id = ANY (@ids::uuid[]) AND p.slot = @slot AND p.status = 'parked'
    RETURNING p.id, p.event_id
), noted AS (
    INSERT INTO gapless.audit (action, target, reason, detail)
    SELECT 'relay ' || @action, 'slot ' || @slot, @reason, jsonb_build_object('request', (SELECT id FROM asked), 'filter', @filter::jsonb,
           'rows', (SELECT coalesce(jsonb_agg(id), '[]') FROM marked))
)
SELECT (SELECT id FROM asked) AS request, (SELECT count(*) FROM marked) AS rows
