// Package trace tells the story of one order, event, saga or trace id through
// every store: the request and its key, the order, each outbox row, its LSN and
// its place in Kafka, each consumer's claim, dead letters and parked rows, the
// saga and its steps, and what the participants hold.
//
// # Promise
//
// A story is told from what is there now. What should be there and is not is an
// entry too, with Missing set: a row that is not in Kafka, a consumer that has not
// taken an event of its topic. Payloads, tokens and addresses are never part of
// it, so that a customer may see the story of an order of theirs.
//
// # Kafka
//
// A claim says where its record was, so Kafka is asked only when it is given, and
// then only the one partition of the key, from the time of the row on, up to the
// end, for Config.KafkaTimeout at most. Kafka being away makes the story poorer
// and says so in Notes; it does not make it fail. Without Kafka an event that
// nobody has claimed is shown without a place and not as missing.
//
// # What it does not do
//
// It changes nothing. The stores are read one after the other, not in one
// snapshot: of an order that is moving, a later store may tell more than an
// earlier one. A trace id is looked for in the orders and then in the outbox,
// which have no index for it. Of an aggregate with more than [MaxEvents] events
// the first ones are told.
package trace
