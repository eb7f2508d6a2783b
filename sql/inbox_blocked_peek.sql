-- Which keys of a batch are blocked at this moment: a hint before Prepare, so
-- that nothing outside is asked for a message that cannot be applied. The
-- transaction asks again, with the lock.
-- Index: key_block_pkey. Locks: none.
SELECT b.topic, b.key
FROM gapless.key_block AS b
WHERE b.consumer = $1 AND b.generation = $2
  AND (b.topic, b.key_hash) IN (SELECT u.topic, sha256(u.key) FROM unnest($3::text[], $4::bytea[]) AS u (topic, key))
