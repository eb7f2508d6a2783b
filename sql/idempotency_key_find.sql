-- The answer stored under a key.
-- Index: idempotency_key_pkey. Locks: ACCESS SHARE.
SELECT request_hash, order_id, status_code, body
FROM gapless.idempotency_key
WHERE principal = $1 AND route = $2 AND key = $3
