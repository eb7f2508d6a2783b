-- Open transactions, oldest first: one keeps WAL from being freed, a new slot
-- from being made and partitions from being split. Locks: none.
SELECT pid, usename, application_name, state, now() - xact_start AS open_for, backend_xid, backend_xmin,
       pg_blocking_pids(pid) AS waits_for, left(query, 80) AS query
FROM pg_stat_activity
WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start
LIMIT 50
