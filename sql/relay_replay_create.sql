-- A replay, as it was asked for, of the history that slot $1 is on now, and an audit row.
-- relay_progress_pkey.
WITH made AS (
    INSERT INTO gapless.relay_replay (slot, system_id, timeline, snapshot, request, rows, first_at, last_at, reason)
    SELECT slot, system_id, timeline, $2::text::pg_snapshot, $3::jsonb, $4, $5, $6, $7::text
    FROM gapless.relay_progress
    WHERE slot = $1
    RETURNING id
), noted AS (
    INSERT INTO gapless.audit (action, target, reason, detail)
    SELECT 'relay replay', 'replay ' || id, $7::text, $3::jsonb FROM made
)
SELECT id FROM made
