-- What the slot will still send, without moving it. $1 slot, $2 publication.
SELECT data
FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', $2)
