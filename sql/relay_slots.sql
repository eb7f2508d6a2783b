-- Slots of this database that relays may use, but for slot $1, and what a relay of
-- publication $2 has as its first part of the publication's identity. Catalogs only.
SELECT slot_name::text AS slot,
       coalesce((SELECT 'p' || oid FROM pg_publication WHERE pubname = $2::name), '') AS publication
FROM pg_replication_slots
WHERE database = current_database() AND plugin = 'pgoutput' AND NOT temporary AND slot_name <> $1::name
ORDER BY slot_name
