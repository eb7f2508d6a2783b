-- The stored position of a slot. relay_progress_pkey; no lock.
SELECT system_id, timeline, resume_lsn::text AS resume, partial_commit_lsn::text AS partial_commit,
       partial_index, incarnation, proofs, messages, take_over_lsn::text AS take_over
FROM gapless.relay_progress
WHERE slot = $1
