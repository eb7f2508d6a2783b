-- Retention, one batch: keys older than $1, at most $2 of them, oldest first.
-- Waits for another API process that deletes the same rows, and then finds them
-- gone.
-- Index: idempotency_key_created_at_idx. Locks: ROW EXCLUSIVE.
DELETE FROM gapless.idempotency_key
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM gapless.idempotency_key
    WHERE created_at < statement_timestamp() - $1::interval
    ORDER BY created_at
    LIMIT $2))
