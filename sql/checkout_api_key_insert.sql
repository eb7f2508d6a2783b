-- A new key. Fails with 23505 (api_keys_name_key) when the name is taken.
-- Locks: ROW EXCLUSIVE.
INSERT INTO checkout.api_keys (key_hash, name, role)
VALUES ($1, $2, $3)
