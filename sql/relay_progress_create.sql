-- The first record of a slot, at the position where the slot was made.
INSERT INTO gapless.relay_progress (slot, system_id, timeline, resume_lsn)
VALUES ($1, $2, $3, $4::text::pg_lsn)
ON CONFLICT (slot) DO NOTHING
