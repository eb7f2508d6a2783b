-- Gives back mails that were taken and not tried.
-- Index: messages_pkey. Locks: the rows.
UPDATE notification.messages
SET attempts = attempts - 1, next_try_at = clock_timestamp()
WHERE message_id = ANY ($1::text[]) AND status = 'pending'
