// Package payment is the participant that moves money: it answers the payment
// commands of the saga, with the help of a [Gateway].
//
// # Promise
//
// One charge an order, whatever is lost, repeated, reordered or killed: neither
// a lost answer of the gateway nor a crash between its answer and our commit
// charges twice, and nothing is charged for an order that is undone.
//
// # How
//
// The gateway is called in Prepare, outside any transaction, with the saga's
// step id as its idempotency key: a call made again is the same call. Apply
// then records the outcome and replies, in the inbox transaction.
//
// What call a command needs is decided twice by the same pure function, [plan]:
// before the call, on the payment as it was read, and again in the transaction,
// on the payment as it is locked. If the two differ, an earlier message of the
// same batch has changed the payment; the batch is then refused and run message
// by message, each prepared anew.
//
// # Outcomes of a call
//
//	done                    recorded, replied
//	declined                recorded, replied: PaymentDeclined
//	transient (not done)    again with the same key, a few times, with backoff
//	unknown (perhaps done)  the same: only the same key tells
//	still none of these     the partition waits ([consumers.Unavailable])
//	void or refund refused  the command is parked: a compensation that fails is
//	                        never reported as done
//
// # Invariants
//
//   - status moves authorized -> captured -> refunded, or authorized -> voided;
//     declined, voided and refunded are final.
//   - captured_minor - refunded_minor is what we hold for the order.
//   - VoidPayment and RefundPayment undo the payment whatever its state: an
//     authorisation is voided, a capture refunded, and the reply says which. A
//     payment that was never authorised leaves a tombstone (status voided, no
//     charge): the late AuthorizePayment is answered PaymentDeclined, and
//     whatever may have been charged under its key is voided.
//   - A command that comes again is answered again without a call, as long as
//     its outcome still holds; after the payment is undone it is PaymentDeclined.
//   - Versions of the payment events of an order grow by one, under its row lock.
//
// # When the process dies
//
//   - before the call: nothing happened;
//   - after the call, before the commit: the command comes again, and the call
//     with the same key returns what happened at the first;
//   - after the commit: the redelivery finds the claim.
//
// Two processes that prepare the same command at once make the same call.
//
// # What it does not do
//
// It sees no card numbers, only tokens; makes no partial captures or refunds;
// and knows neither stock nor saga states.
package payment
