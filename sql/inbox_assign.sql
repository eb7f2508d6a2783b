-- Takes a partition. Returns the member that left its row behind, if any, and
-- the last offset of the partition that has attempts, or -1.
-- Index: inbox_assignment_pkey, inbox_attempt_pkey. Locks: the row.
WITH found AS (
    SELECT member FROM gapless.inbox_assignment
    WHERE consumer = $1 AND generation = $2 AND topic = $3 AND partition = $4
), taken AS (
    INSERT INTO gapless.inbox_assignment (consumer, generation, topic, partition, member)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (consumer, generation, topic, partition) DO UPDATE
    SET member = EXCLUDED.member, assigned_at = clock_timestamp()
)
SELECT coalesce((SELECT member FROM found), ''), coalesce((
    SELECT max("offset") FROM gapless.inbox_attempt
    WHERE consumer = $1 AND generation = $2 AND topic = $3 AND partition = $4
), -1)
