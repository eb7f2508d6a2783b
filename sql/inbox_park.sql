-- Parks a message: claim, dead letter, key block and the end of its attempts in
-- one statement, so that a crash leaves all or nothing. Returns nothing when
-- somebody has claimed the event meanwhile; then nothing is written either.
-- Index: inbox_pkey, key_block_pkey. Locks: ROW EXCLUSIVE on the four tables.
WITH claim AS (
    INSERT INTO gapless.inbox (consumer, generation, event_id, outcome, topic, partition, "offset", position)
    VALUES ($1, $2, $3, 'parked', $4, $5, $6, $7)
    ON CONFLICT DO NOTHING
    RETURNING event_id
), letter AS (
    INSERT INTO gapless.dead_letter (consumer, generation, event_id, type, topic, partition, "offset", record_timestamp,
                                     key, value, headers, reason, error, attempts, first_failed_at, last_failed_at)
    SELECT $1, $2, event_id, $8, $4, $5, $6, $9, $10, $11, $12::jsonb, $13, $14, $15, coalesce($16, clock_timestamp()), clock_timestamp()
    FROM claim
    RETURNING dead_letter_id
), block AS (
    INSERT INTO gapless.key_block (consumer, generation, topic, key, dead_letter_id)
    SELECT $1, $2, $4, $10::bytea, dead_letter_id
    FROM letter
    WHERE $10::bytea IS NOT NULL
    ON CONFLICT DO NOTHING
), attempt AS (
    DELETE FROM gapless.inbox_attempt
    WHERE consumer = $1 AND generation = $2 AND topic = $4 AND partition = $5 AND "offset" = $6
      AND EXISTS (SELECT FROM claim)
)
SELECT dead_letter_id FROM letter
