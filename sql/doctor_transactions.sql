-- Transactions that have been open for more than @seconds, oldest first, and those
-- of other logins of which this one may not see the age (pg_read_all_stats).
-- Locks: none.
SELECT a.pid, coalesce(a.usename::text, '') AS login, coalesce(a.application_name, '') AS application, coalesce(a.state, '') AS state,
       a.xact_start IS NULL AS hidden,
       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8 AS seconds,
       a.backend_xid IS NOT NULL AS writes
FROM pg_stat_activity AS a
WHERE a.pid <> pg_backend_pid()
  AND a.usesysid IS NOT NULL
  AND NOT EXISTS (SELECT FROM pg_stat_replication AS r WHERE r.pid = a.pid)
  AND CASE WHEN a.xact_start IS NULL
           THEN a.state IS NULL AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
           ELSE a.xact_start < clock_timestamp() - make_interval(secs => @seconds::float8) END
ORDER BY a.xact_start NULLS LAST
LIMIT 50
