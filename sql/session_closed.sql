-- What the program sets where no statement is anybody else's: names are the server's own
-- unless they say of which schema they are, so that nobody who may create functions
-- elsewhere has them run by this login. Not where somebody's handlers run, nor behind a
-- pooler: the session's next client would have it. $1 is the process id that the client
-- was told of, which is a pooler's own where there is one.
-- https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATTERNS
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)
WHERE pg_catalog.pg_backend_pid() = $1::bigint
