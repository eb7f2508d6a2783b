-- The newest snapshot of which the relay of slot $1 is proven to have relayed every row.
SELECT snapshot::text AS snapshot
FROM gapless.relay_proven()
WHERE slot = $1
