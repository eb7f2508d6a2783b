-- Consumers: what they did in the last ten minutes, and what is in their way.
-- Index: inbox_pkey. Locks: ACCESS SHARE.
SELECT *
FROM gapless.inbox_status
ORDER BY consumer, generation
