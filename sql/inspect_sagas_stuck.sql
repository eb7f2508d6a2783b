-- Sagas that a person should look at, and why. Index: saga_open_idx.
-- Locks: ACCESS SHARE.
SELECT *
FROM gapless.saga_stuck
ORDER BY updated_at
LIMIT 100
