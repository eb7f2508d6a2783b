-- Which keys of a batch wait for a dead letter. Comes after the claim: once the
-- claim has waited for a twin that parked the message, this sees its block.
-- Index: key_block_pkey. Locks: FOR SHARE on the rows found, which a redrive
-- takes FOR UPDATE.
SELECT b.topic, b.key
FROM gapless.key_block AS b
WHERE b.consumer = $1 AND b.generation = $2
  AND (b.topic, b.key_hash) IN (SELECT u.topic, sha256(u.key) FROM unnest($3::text[], $4::bytea[]) AS u (topic, key))
ORDER BY b.topic, b.key_hash
FOR SHARE OF b
