-- Notes the replays $6 (requests) that signal $5 of slot $1 asks for, which the log has at
-- commit $3, change $4 of server $2, with the reason $7 and audit rows. Nothing when that
-- was done before. relay_replay_signal_idx.
WITH made AS (
    INSERT INTO gapless.relay_replay (slot, system_id, timeline, snapshot, request, rows, reason, signal, signal_lsn, signal_index, planned)
    SELECT p.slot, p.system_id, p.timeline, pg_current_snapshot(), wanted.request, 0, $7::text, $5::text, $3::text::pg_lsn, $4::bigint, false
    FROM gapless.relay_progress AS p, unnest($6::jsonb[]) WITH ORDINALITY AS wanted (request, n)
    WHERE p.slot = $1 AND p.system_id = $2::text
      AND NOT EXISTS (SELECT FROM gapless.relay_replay AS r
                      WHERE r.slot = $1 AND r.system_id = $2::text AND r.signal_lsn = $3::text::pg_lsn AND r.signal_index = $4::bigint)
    ORDER BY wanted.n
    ON CONFLICT (slot, system_id, signal_lsn, signal_index, (request ->> 'table')) WHERE signal_lsn IS NOT NULL DO NOTHING
    RETURNING id, request
), noted AS (
    INSERT INTO gapless.audit (action, target, reason, detail)
    SELECT 'relay replay', 'replay ' || id, $7::text, request FROM made
)
SELECT count(*) FROM made
