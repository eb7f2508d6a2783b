-- What 20,000 rows of a published table are routed by. The doctor puts the quoted
-- names of a table and a column of its own in the place of gapless.outbox and
-- aggregatetype. Locks: ACCESS SHARE.
SELECT DISTINCT o.routed
FROM (SELECT aggregatetype::text AS routed FROM gapless.outbox LIMIT 20000) AS o
WHERE o.routed IS NOT NULL
ORDER BY 1
