-- The first record of a slot, at the position where the slot was made, or up to which
-- the program that had it before has sent; up to $7 it may have sent more. What a record of before knew of tables of
-- one's own holds no more. A second process that found no record either changes
-- nothing.
WITH created AS (
    INSERT INTO gapless.relay_progress (slot, system_id, timeline, resume_lsn, partial_commit_lsn, partial_index, messages, take_over_lsn)
    VALUES ($1, $2, $3, $4::text::pg_lsn, $5::text::pg_lsn, $6, $7, $8::text::pg_lsn)
    ON CONFLICT (slot) DO NOTHING
    RETURNING slot
)
DELETE FROM gapless.relay_table AS t
USING created
WHERE t.slot = created.slot
