-- Open sagas by status, and the age of the oldest in seconds.
-- Index: saga_open_idx. Locks: ACCESS SHARE.
SELECT status, count(*) AS sagas, extract(epoch FROM clock_timestamp() - min(started_at))::float8 AS oldest
FROM gapless.saga
WHERE finished_at IS NULL
GROUP BY status
