-- Fences every earlier owner of the slot and reads the position that is final
-- because of it. Run while holding the slot. relay_progress_pkey; row lock.
UPDATE gapless.relay_progress
SET incarnation = incarnation + 1, relay_id = $2, system_id = $3, timeline = $4, updated_at = clock_timestamp()
WHERE slot = $1
RETURNING resume_lsn::text AS resume, partial_commit_lsn::text AS partial_commit, partial_index, incarnation
