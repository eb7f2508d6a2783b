-- Claims a key, first in its transaction. Without ON CONFLICT on purpose: a
-- key that is there must stop the statements queued behind this one (23505),
-- one that is being written must stop them too (55P03).
-- Index: idempotency_key_pkey. Locks: ROW EXCLUSIVE.
INSERT INTO gapless.idempotency_key (principal, route, key, request_hash, order_id, status_code, body)
VALUES ($1, $2, $3, $4, $5, $6, $7)
