-- The key of an event whose row retention has taken, from its dead letter:
-- dead_letter_event_id_idx. Keys of ours are text;
-- a message may have had none.
SELECT coalesce(encode(key, 'escape'), '') AS key
FROM gapless.dead_letter
WHERE event_id = @id
LIMIT 1
