-- Lets the relays of slot $1 go on for a signal that the log has at commit $3, change $4
-- of server $2, with the reason $5 and an audit row. Nothing when this signal, or a later
-- one, was executed before, or when the pause was made later than the signal. Index
-- relay_control_pkey.
WITH executed AS (
    UPDATE gapless.relay_control
    SET paused = false, reason = $5::text, wished_lsn = $3::text::pg_lsn, signal_system_id = $2::text, signal_lsn = $3::text::pg_lsn, signal_index = $4::bigint
    WHERE slot = $1::text AND paused AND wished_lsn <= $3::text::pg_lsn
      AND (signal_system_id IS DISTINCT FROM $2::text OR (signal_lsn, signal_index) < ($3::text::pg_lsn, $4::bigint))
    RETURNING slot
)
INSERT INTO gapless.audit (action, target, reason)
SELECT 'relay resume', 'slot ' || slot, $5::text FROM executed
