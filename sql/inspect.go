package sql

import "embed"

// Files holds every statement under its file name.
//
//go:embed *.sql
var Files embed.FS

// Inspection queries run in psql as they are: no placeholders, no formatting.
// Their filters are settings (SET gapless.type = 'OrderPlaced'), absent or empty
// for all.
var (
	// InspectBlockedKeys lists keys that wait for a dead letter.
	//
	//go:embed inspect_blocked_keys.sql
	InspectBlockedKeys string

	// InspectInbox lists consumers with their counts.
	//
	//go:embed inspect_inbox.sql
	InspectInbox string

	// InspectDeadLetters lists open dead letters.
	//
	//go:embed inspect_dead_letters.sql
	InspectDeadLetters string

	// InspectInboxEvent lists what each consumer did with an event.
	//
	//go:embed inspect_inbox_event.sql
	InspectInboxEvent string

	// InspectLag lists relays and how far behind they are.
	//
	//go:embed inspect_lag.sql
	InspectLag string

	// InspectOutbox lists the newest events, readable.
	//
	//go:embed inspect_outbox.sql
	InspectOutbox string

	// InspectOutboxPartitions lists partitions of the outbox.
	//
	//go:embed inspect_outbox_partitions.sql
	InspectOutboxPartitions string

	// InspectParked lists what the relay could not deliver.
	//
	//go:embed inspect_parked.sql
	InspectParked string

	// InspectSagas lists sagas that are not over.
	//
	//go:embed inspect_sagas.sql
	InspectSagas string

	// InspectSagasStuck lists sagas that a person should look at.
	//
	//go:embed inspect_sagas_stuck.sql
	InspectSagasStuck string

	// InspectSlots lists replication slots and the WAL they keep.
	//
	//go:embed inspect_slots.sql
	InspectSlots string

	// InspectTransactions lists open transactions.
	//
	//go:embed inspect_transactions.sql
	InspectTransactions string
)
