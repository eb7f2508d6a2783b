-- Retention, one batch: keys older than $1, at most $2 of them, oldest first.
-- Rows that another API process is deleting are passed over.
-- Index: idempotency_key_created_at_idx. Locks: ROW EXCLUSIVE.
DELETE FROM gapless.idempotency_key
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM gapless.idempotency_key
    WHERE created_at < statement_timestamp() - $1::interval
    ORDER BY created_at
    LIMIT $2))
