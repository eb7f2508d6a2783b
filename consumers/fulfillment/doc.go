// Package fulfillment is the participant that ships: it answers CreateShipment
// with ShipmentCreated or ShipmentFailed, and CancelShipment with
// ShipmentCancelled.
//
// # Promise
//
// An order has at most one shipment, and none that was cancelled goes out.
//
// # Invariants
//
//   - status moves created -> cancelled, or stays failed; failed and cancelled
//     are final.
//   - A CancelShipment that overtakes its CreateShipment leaves a tombstone
//     (cancelled, no tracking number): the late CreateShipment is answered
//     ShipmentFailed with the code "cancelled". So is one that comes again
//     after the cancellation.
//   - A command that comes again is answered again and ships nothing more.
//   - Versions of the shipment events of an order grow by one, under its row
//     lock.
//
// # Where shipments fail
//
// The carrier of this pipeline is a stand-in that makes a tracking number out
// of the order id. It refuses country XX (user-assigned in ISO 3166-1, so
// nobody lives there) and whatever [Config.Refuse] says; by default also an
// address whose first line is "fail", for tests and demonstrations.
//
// # When the process dies
//
// Shipment and reply are one transaction with the inbox claim: before its
// commit nothing happened and the command comes again, after it the redelivery
// finds the claim.
//
// # What it does not do
//
// It calls no carrier, keeps no parcels and holds no stock.
package fulfillment
