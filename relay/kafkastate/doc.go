// Package kafkastate keeps a relay's state in a compacted topic of Kafka, for a database
// that the relay may not write to: how far it is, what it has parked, and what operators
// want of it.
//
// # The topic
//
// One partition, cleanup.policy=compact, shared by any number of slots. A record's key
// begins with the slot; its value is JSON with a version:
//
//	<slot>/progress                            position, incarnation; by the relay
//	<slot>/proofs                              what is proven to be relayed; by the relay
//	<slot>/row/<timeline>/<commit>/<index>     a parked row with its bytes; by the relay
//	<slot>/mark/<timeline>/<commit>/<index>    what became of it; by the relay
//	<slot>/request/<id>                        what an operator asks for parked rows
//	<slot>/control                             an operator's pause or resume
//	<slot>/signal                              the newest pause or resume by the signal table
//	<slot>/status                              what the relay tells of itself
//
// Requests, controls and signals keep who, when and why: they are the audit trail.
//
// # Fencing
//
// What only the owner of the slot may write goes out in transactions of a producer whose
// transactional id is made of topic and slot. Fence takes it over: whoever had it before
// can commit nothing more, and what it had not committed is nowhere visible. Then the
// topic is read to its end, so what is read is final. Each transaction is all or nothing.
// Records of an incarnation older than the newest are passed over besides.
//
// # When it dies
//
//	transaction begun, not committed   aborted by the next Fence, or after 10 s
//	committed, answer lost             the outcome is read from the topic; every write
//	                                   may be made twice
//	Fence done, nothing written        the next Fence finds the same state
//
// # Bounds
//
// The state of one slot is held in memory, but for the bytes of parked rows: those are
// read from the topic when they are sent again. So a parked row costs some hundred bytes,
// and no more than MaxRows are taken. A row that does not fit into a record of the topic
// is kept without its bytes.
//
// A relay that died in the middle of a write leaves a transaction open. Its own slot's next
// one aborts it, see Release. That of another slot keeps what is behind it from
// being read for about as long as it is open, which is 10 s at most, and as long again
// until the broker looks: a relay that starts meanwhile waits, one that streams does not.
//
// # What is refused
//
// A topic that is missing, has several partitions or is not compacted, a record of the
// slot that cannot be read, records that are gone from the end of the topic: an
// *UnusableError. Nothing is passed over.
package kafkastate
