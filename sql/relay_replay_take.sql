-- Takes replay $1 of slot $2 over: who ran it before finds another number at its next
-- page. relay_replay_pkey.
UPDATE gapless.relay_replay AS p
SET runs = p.runs + 1, updated_at = clock_timestamp()
FROM gapless.relay_progress AS r
WHERE p.id = $1 AND p.slot = $2 AND r.slot = p.slot
RETURNING p.runs, p.snapshot::text AS snapshot, p.request, p.rows, p.first_at, p.last_at, p.sent, p.held, p.failed, p.place,
          p.finished_at IS NOT NULL AS finished, p.planned, p.paused, r.system_id = p.system_id AND r.timeline = p.timeline AS same_history
