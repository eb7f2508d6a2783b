-- The first record of a slot, at the position where the slot was made. What a record
-- of before knew of tables of one's own holds no more.
WITH forgotten AS (
    DELETE FROM gapless.relay_table WHERE slot = $1
)
INSERT INTO gapless.relay_progress (slot, system_id, timeline, resume_lsn)
VALUES ($1, $2, $3, $4::text::pg_lsn)
ON CONFLICT (slot) DO NOTHING
