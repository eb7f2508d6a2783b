-- The aggregate types of the newest 20,000 events. Index: outbox_pkey. Locks:
-- ACCESS SHARE.
SELECT DISTINCT o.aggregatetype AS routed
FROM (SELECT aggregatetype FROM gapless.outbox ORDER BY id DESC LIMIT 20000) AS o
ORDER BY 1
