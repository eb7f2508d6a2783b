-- Transaction ids that hold something back: each that still runs, is prepared, or is a
-- snapshot's oldest, once another id was given out behind it. (A short read on a quiet
-- server has the next id as its oldest, which holds nothing; VACUUM's own is passed over
-- by the others.) Every login may see the ids. When a transaction began it may see of its
-- own role's alone, and of all with pg_read_all_stats: else open_seconds is 0. Locks: none.
SELECT held.xid::text AS xid, max(coalesce(extract(epoch FROM clock_timestamp() - held.since), 0))::float8 AS open_seconds
FROM (
    SELECT backend_xid AS xid, xact_start AS since
    FROM pg_stat_activity
    UNION ALL
    SELECT backend_xmin, NULL
    FROM pg_stat_activity
    WHERE pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
    UNION ALL
    SELECT transaction, prepared
    FROM pg_prepared_xacts
) AS held
WHERE held.xid IS NOT NULL AND age(held.xid) > 0
GROUP BY held.xid
