-- Pauses the relays of slot $1 for a signal that the log has at commit $3, change $4 of
-- server $2, with the reason $5 and an audit row. Nothing when this signal, or a later
-- one, was executed before. An operator's pause stays his. Index relay_control_pkey.
WITH before AS (
    SELECT paused FROM gapless.relay_control WHERE slot = $1::text
), executed AS (
    INSERT INTO gapless.relay_control AS c (slot, paused, reason, wished_lsn, signal_system_id, signal_lsn, signal_index)
    VALUES ($1, true, $5::text, $3::text::pg_lsn, $2::text, $3::text::pg_lsn, $4::bigint)
    ON CONFLICT (slot) DO UPDATE
    SET paused = true,
        reason = CASE WHEN c.paused THEN c.reason ELSE EXCLUDED.reason END,
        wished_lsn = CASE WHEN c.paused THEN c.wished_lsn ELSE EXCLUDED.wished_lsn END,
        signal_system_id = EXCLUDED.signal_system_id, signal_lsn = EXCLUDED.signal_lsn, signal_index = EXCLUDED.signal_index
    WHERE c.signal_system_id IS DISTINCT FROM EXCLUDED.signal_system_id
       OR (c.signal_lsn, c.signal_index) < (EXCLUDED.signal_lsn, EXCLUDED.signal_index)
    RETURNING slot
)
INSERT INTO gapless.audit (action, target, reason)
SELECT 'relay pause', 'slot ' || slot, $5::text
FROM executed
WHERE NOT EXISTS (SELECT FROM before WHERE paused)
