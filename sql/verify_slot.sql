-- Whether a slot is there.
SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)
