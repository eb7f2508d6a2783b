-- Slot $1 leaves the tables $2 out from here on: what is written to them is not relayed,
-- so when they are relayed again, that begins anew. relay_table_pkey.
DELETE FROM gapless.relay_table
WHERE slot = $1 AND relation = ANY ($2::text[])
