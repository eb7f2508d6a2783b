-- Who a key belongs to, by its SHA-256.
-- Index: api_keys_pkey. Locks: ACCESS SHARE.
SELECT name, role
FROM checkout.api_keys
WHERE key_hash = $1 AND revoked_at IS NULL
