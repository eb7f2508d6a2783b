-- Pauses the relays of slot $1, or lets them go on ($2), with who and why, and
-- leaves an audit row. Signals that the log has before this do not change it. They ask about once a second. Index relay_control_pkey.
WITH wanted AS (
    INSERT INTO gapless.relay_control (slot, paused, reason)
    SELECT $1::text, $2::boolean, $3::text
    WHERE EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1::text)
       OR EXISTS (SELECT FROM gapless.relay_progress WHERE slot = $1::text)
    ON CONFLICT (slot) DO UPDATE
    SET paused = EXCLUDED.paused, reason = EXCLUDED.reason, wished_lsn = EXCLUDED.wished_lsn
    RETURNING slot
), noted AS (
    INSERT INTO gapless.audit (action, target, reason)
    SELECT CASE WHEN $2::boolean THEN 'relay pause' ELSE 'relay resume' END, 'slot ' || slot, $3::text FROM wanted
    RETURNING 1
)
SELECT count(*) FROM wanted, noted
