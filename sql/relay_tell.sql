-- Stores what the relay that has slot $1 in incarnation $2 alone knows: its state, why,
-- and the rows that wait for topics. Nothing for one that lost the slot.
-- relay_progress_pkey, relay_status_pkey; HOT updates.
INSERT INTO gapless.relay_status (slot, state, reason, held, held_topics)
SELECT slot, $3, $4, $5, $6
FROM gapless.relay_progress
WHERE slot = $1 AND incarnation = $2
ON CONFLICT (slot) DO UPDATE
SET state = EXCLUDED.state, reason = EXCLUDED.reason, held = EXCLUDED.held, held_topics = EXCLUDED.held_topics, told_at = clock_timestamp()
