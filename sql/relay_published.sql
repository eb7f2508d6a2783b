-- The tables of publication $1, as rows come out of it.
SELECT format('%s.%s', schemaname, tablename) AS name
FROM pg_publication_tables
WHERE pubname = $1
ORDER BY 1
