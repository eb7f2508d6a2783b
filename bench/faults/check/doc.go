// Package check judges a history: what was written to the outbox, what Kafka holds
// at the end, when the relays began to stream and when the fault was there.
//
// # Promise
//
//   - [Lost]: a row that the database has and no record carries, and that is not in
//     gapless.parked.
//   - [Phantoms]: a record of no committed row, of a row that was rolled back, or
//     with another key or version than its row.
//   - [Inversions]: of one key, the first occurrences must be in the order of
//     aggregate version and of commit, and on one partition.
//   - [Repeats]: a record that comes again. It is allowed where a stream that began
//     after the fault could not know that the record was acknowledged: see below.
//   - [Vanished]: a row whose commit was answered and which the database has not,
//     or one whose transaction was rolled back and which it has. The fault is then
//     the server's or the load's, and the other verdicts are worth nothing.
//
// They are pure functions over a history that is complete: every relay has ended,
// and every topic was read to its end. Each says no to planted histories in its
// tests.
//
// # Unknown outcomes
//
// When the connection breaks at COMMIT nobody knows what became of it. Whether such
// a row was committed is what the database says in the end. An outcome of ok or
// fail is held against the database.
//
// # Which repeats are allowed
//
// At least once means that a record may come again when the relay that sent it did
// not live to store that it was acknowledged. So a repeat needs
//
//   - a stream that began between the fault and the repeat, from a stored position
//     that is not past the row (what is stored is never sent again),
//   - and a first occurrence that was appended after the fault, or [Unconfirmed]
//     before it at most: what was acknowledged earlier was stored.
//
// A stream that goes on repeats nothing, whatever its broker does: the producer is
// idempotent.
//
// # What it does not do
//
// It does not read Kafka or Postgres, and knows no order across keys.
package check
