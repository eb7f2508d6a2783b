// Package core decides what the relay may acknowledge. It is a state machine:
// messages of the replication stream and acknowledgements of the sink go in,
// "write this progress" and "confirm this LSN" come out. It does no I/O, reads
// no clock, starts no goroutine, takes no lock and names no broker; whoever
// drives it passes the time in.
//
// # Position
//
// A row has no position of its own: BEGIN, Relation and the first Insert share
// an LSN, and every row of a COPY carries the LSN of the transaction before.
// So a Position is
//
//	Resume         end of the last transaction that is complete
//	PartialCommit  commit LSN (known from Begin) of a transaction that is not
//	PartialIndex   how many of its changes are done, from its first
//
// and every change received counts, routed or not. Streaming starts at Resume;
// the first PartialIndex changes of PartialCommit are then skipped. Starting
// at a partial transaction's own LSN would lose the rest of it.
//
// # Invariants
//
//  1. Nothing is done before it and everything before it is acknowledged:
//     a ring holds what is in flight in stream order, acknowledgements come in
//     any order, and the position follows the ring's head only.
//  2. Order of acknowledgement: sink, then progress record, then slot. Flush
//     never passes the record because of an event.
//  3. A keepalive moves the position only between transactions, with nothing
//     in flight and no partial transaction outstanding. It may move the slot
//     past the record only while the record holds a proof that is younger
//     than every event (see Proof): else nobody could tell a slot that an
//     idle relay moved from one that somebody moved over unsent rows.
//  4. Flush is never 0: the server's client library would replace it by the
//     write position.
//  5. What is in flight is bounded by records and by bytes, and what is known of
//     behind the oldest change that is not acknowledged by its number: Paused.
//  6. A change that is held stays before the position, and nothing of it is kept but
//     its place: it comes again in the next stream, which skips what this one saw
//     acknowledged behind it (Ahead).
//
// # Death
//
// The machine's memory is worth nothing: after a crash a new one starts from
// the stored Position. What was acknowledged but not stored is sent again;
// what was stored but not confirmed is skipped. If the server confirms less
// than it was told (it does, after its own crash), transactions before Resume
// come again and are skipped whole.
package core
