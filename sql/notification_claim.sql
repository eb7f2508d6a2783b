-- Takes up to $1 mails that are due, for $2 seconds: after that they are due
-- again, whatever became of whoever took them.
-- Index: messages_pending_idx, messages_pkey. Locks: the rows, without waiting
-- for those that another sender is taking.
UPDATE notification.messages AS m
SET attempts = m.attempts + 1, next_try_at = clock_timestamp() + $2::float8 * interval '1 second'
FROM (
    SELECT message_id
    FROM notification.messages
    WHERE status = 'pending' AND next_try_at <= statement_timestamp()
    ORDER BY next_try_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE m.message_id = due.message_id
RETURNING m.message_id, m.customer_id, m.subject, m.body, m.attempts, m.created_at
