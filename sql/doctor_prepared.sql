-- Prepared transactions that are older than @seconds, oldest first. Locks: none.
SELECT gid, owner::text AS owner, database::text AS database, extract(epoch FROM clock_timestamp() - prepared)::float8 AS seconds
FROM pg_prepared_xacts
WHERE prepared < clock_timestamp() - make_interval(secs => @seconds::float8)
ORDER BY prepared
