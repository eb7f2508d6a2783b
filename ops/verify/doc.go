// Package verify judges a running installation by the seven invariants of
// Gapless: it reads the outbox, Kafka, the inbox and the tables of the order
// pipeline, and tells for each invariant how much was judged, how much was too
// young to be judged, and what is broken.
//
//	1 no loss            every committed outbox row is in Kafka or parked; every
//	                     record has its effect or a dead letter in each consumer
//	                     that takes its topic
//	2 no phantom         every record belongs to a committed row
//	3 effect once        per (consumer, event)
//	4 order              per key, first occurrences are in aggregate-version order
//	5 conservation       of stock and of money
//	6 termination        every saga is over, waits visibly, or has time left
//	7 read models        equal a recomputation from the orders
//
// # Cuts
//
// Nothing is stopped for it, so each check has a cut, and a reading order that
// makes the cut safe:
//
//   - Loss: a snapshot of the outbox, then the LSN of that moment; wait until the
//     relay has passed it; then what is parked; then Kafka's ends (read
//     committed). A row of the snapshot that is in none of them is lost. Rows
//     committed later are not judged.
//   - Phantom: Kafka's ends first, then the database, for the relay may see a
//     commit before SELECT does.
//   - Effects: Kafka's ends, then the groups' committed offsets, then the inbox.
//     A record behind the offset must be claimed; one ahead of it is too young.
//   - Stock, money, sagas, read models: one REPEATABLE READ snapshot, and of money
//     only orders that are final. What looks broken there but has changed within
//     Config.Young is too young: the provider's ledger is written by another
//     transaction than ours.
//
// # Counts
//
// Judged holds what was found right, parked or broken. Parked is what is put
// aside, or waits for a person, where everybody can see it: shown, not broken.
// Expired is what retention has taken from one side: rows older than the oldest
// record of their partition, records older than the oldest partition of outbox
// or inbox.
//
// When the relay does not pass the LSN within Config.Wait, rows that are not in
// Kafka are too young, and [Report.Incomplete] says why and what to do. A report
// that is incomplete proves less than one that is not: [Report.Holds] is false
// then. It is not when something is merely too young, or not in this database at
// all ([Report.Absent]); a caller that must not pass over that either asks for
// both.
//
// # What it does not do
//
// It writes nothing, and repairs nothing. It judges records of gapless.outbox;
// dead letters are judged in their table, not in their topics. It compares a
// record's topic, key, type and version with the row's, not the payload's bytes.
// It sees what Kafka still has: it cannot tell a record that was never sent from
// one that was deleted behind its back with a later one of its partition.
//
// # Cost
//
// One sequential read of the outbox and of the event topics; memory grows with
// the number of events, by a record of fixed size and a map entry for each, and
// with the number of keys. Every database read is done in a read-only
// transaction; the first holds its snapshot while it reads the outbox.
//
// # When it dies, or runs twice
//
// Nothing is left behind; two at once do not know of each other. A group is not
// joined and no offset is committed.
package verify
