// Package goose holds the migrations of Gapless and applies them.
//
// # Promise
//
// [Up] brings a database to the newest version of the chosen components, in
// the one order that is safe: schema, publication, group roles, tables, and
// last, outside every transaction, the replication slot. It is idempotent and
// may be run by several processes at once: a session-level advisory lock makes
// them take turns.
//
// # Components
//
//   - core (always): schema gapless, the UUIDv7 functions, audit, registered
//     schemas, group roles, the publication.
//   - outbox: gapless.outbox and what the relay stores.
//   - inbox: gapless.inbox, dead letters, blocked keys, sagas.
//   - shop: the order pipeline's own schemas.
//
// Each component keeps its own version table, gapless.goose_<component>, so a
// database may hold any set of them.
//
// # Invariants
//
//   - The slot is made after the publication and never made again when it is
//     missing from a database that already has relay progress: that would skip
//     rows silently. [Up] reports it as [ErrSlotMissing] instead.
//   - A migration that has been released is never edited.
//
// # When the process dies
//
// Each migration is one transaction together with its version row: it is there
// whole or not at all. Between the last migration and the slot, the next Up
// makes the slot, unless events were written in between: [ErrOutboxNotEmpty].
//
// # What it does not do
//
// It creates no login and sets no password, never drops a slot in Up, and does
// not touch roles in Down: they belong to the cluster.
package goose
