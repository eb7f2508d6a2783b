-- A table by its quoted name ($1): its oid, null where there is none.
SELECT to_regclass($1)::oid AS oid
