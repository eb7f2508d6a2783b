-- Stores progress, unless another relay has taken the slot since: no row then.
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
