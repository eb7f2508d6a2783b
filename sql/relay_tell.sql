-- Stores what the relay that has slot $1 in incarnation $2 alone knows: its state, why,
-- the rows that wait for topics, and how late it is. Nothing for one that lost the slot.
-- relay_progress_pkey, relay_status_pkey; HOT updates.
INSERT INTO gapless.relay_status (slot, state, reason, held, held_topics, oldest_at)
SELECT slot, $3, $4, $5, $6, $7
FROM gapless.relay_progress
WHERE slot = $1 AND incarnation = $2
ON CONFLICT (slot) DO UPDATE
SET state = EXCLUDED.state, reason = EXCLUDED.reason, held = EXCLUDED.held, held_topics = EXCLUDED.held_topics, oldest_at = EXCLUDED.oldest_at, told_at = clock_timestamp()
