// Package inventory is the participant that holds the stock: it answers
// ReserveStock with StockReserved or StockRejected, and ReleaseStock with
// StockReleased.
//
// # Promise
//
// Stock is never sold twice, however many processes reserve at once, and what
// is reserved for an order that ends cancelled comes back.
//
// # Invariants
//
//   - available = initial + the sum of the SKU's movements, in every snapshot.
//   - available >= 0: decided under the locks of all SKUs of the batch, taken
//     sorted in one statement, and held by a CHECK as well.
//   - An order has at most one reserve and one release movement for a SKU.
//   - A reservation moves reserved -> released, or stays rejected. Released and
//     rejected are final.
//   - Versions of the stock events of an order grow by one, under its
//     reservation's row lock.
//
// # Repeats and reorderings
//
// A command that comes again, under the same or another event id, is answered
// again and moves nothing. A ReleaseStock that overtakes its ReserveStock
// leaves a tombstone (a released reservation without items): the late
// ReserveStock is answered StockRejected and reserves nothing. So is one that
// comes again after the release: an answer never claims stock that is not held.
//
// # When the process dies
//
// Movements, stock, reservation and reply are one transaction with the inbox
// claim. Before its commit nothing happened and the command comes again; after
// it a redelivery finds the claim. If the answer to COMMIT is lost the runtime
// runs the batch again, and the claim decides.
//
// # What it does not do
//
// It knows no prices and no saga, reserves no part of an order (all lines or
// none), and has no expiry of its own: the saga releases.
package inventory
