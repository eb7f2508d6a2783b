-- Whether this login may make group roles.
SELECT rolcreaterole OR rolsuper AS may
FROM pg_roles
WHERE rolname = current_user
