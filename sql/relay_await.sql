-- Asks the relay that has slot $1 to write its record as soon as that says something new,
-- for as long as this transaction lasts. It writes none where nothing is relayed, and the
-- slot may not be ahead of the record. A lock that relay_control.sql looks at, since who
-- may only read asks too.
SELECT pg_advisory_xact_lock_shared(hashtext('gapless relay awaited'), hashtext($1))
