-- Stores progress, unless another relay has taken the slot since: no row then. Nor does it
-- go back: a write that was given up for its answer may still come after the next one.
-- relay_progress_pkey; a HOT update, no indexed column changes.
UPDATE gapless.relay_progress
SET resume_lsn = $3::text::pg_lsn,
    partial_commit_lsn = $4::text::pg_lsn,
    partial_index = $5,
    proofs = $6,
    publication_fingerprint = $7,
    events = events + $8,
    last_commit_at = coalesce($9, last_commit_at),
    updated_at = clock_timestamp()
WHERE slot = $1 AND incarnation = $2
  AND (resume_lsn, coalesce(partial_commit_lsn, '0/0'), partial_index) <= ($3::text::pg_lsn, coalesce($4::text::pg_lsn, '0/0'), $5)
