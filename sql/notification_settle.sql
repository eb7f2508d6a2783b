-- Writes what became of a mail: sent, failed, or pending again after $3
-- seconds.
-- Index: messages_pkey. Locks: the row.
UPDATE notification.messages
SET status = $2, next_try_at = clock_timestamp() + $3::float8 * interval '1 second', error = nullif($4, ''),
    sent_at = CASE WHEN $2 = 'sent' THEN clock_timestamp() END
WHERE message_id = $1 AND status = 'pending'
