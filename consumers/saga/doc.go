// Package saga brings an order from placed to confirmed or cancelled, by
// commands to the participants and their replies.
//
//	placed ─▶ reserve_stock ─▶ authorise_payment ─▶ (review) ─▶ ship ─▶ capture ─▶ confirmed
//	              │ refused         │ refused           │ rejected  │ failed   │ declined
//	              ▼                 ▼                   ▼           ▼          ▼
//	cancelled ◀─ StockReleased ◀─ PaymentVoided or PaymentRefunded ◀─ ShipmentCancelled
//
// A flagged payment has the review, where the saga waits for a person. A trial
// has no step but the confirmation. What went forward is undone last first, one
// step at a time; a capture is undone with its authorisation, by a refund.
//
// [Definition] is that picture as a table, [Machine] the pure function over it,
// and the rest of the package carries its decisions out.
//
// # Promise
//
// Every order ends confirmed, or cancelled with everything undone, or visibly
// waits for a person. No step is done that is not undone when the order is
// cancelled, and a compensation that failed is never reported as done.
//
// # Invariants
//
//   - The saga's row is locked FOR UPDATE by whatever moves it: a batch of
//     replies, the timer, an operator. State, steps, order, commands and order
//     events are written in one transaction with the inbox claim of the message
//     that moved it.
//   - At most one step of a saga is in flight. Only the reply that names the
//     saga (ce_correlationid) and the step in flight (gapless_step) moves it;
//     late, second and foreign ones are kept in gapless.saga_ignored_reply.
//   - A step has one id, whatever is sent again: the participant's idempotency
//     key. It is made of the saga's id, and the saga's id is the order's.
//   - aggregate_version of an order after its placement is given out here, under
//     the order's row lock; that of commands is counted by the saga.
//   - A saga whose command is a dead letter, forward or back, needs attention and
//     has no deadline: its timer does not compensate. It goes on by itself when
//     the dead letter is redriven and the reply comes, or by [Saga.Mend].
//   - A saga that waits for a person has no deadline.
//
// # Cancellation by the customer
//
// Before the order is confirmed: the step in flight is finished first, for what
// it did is then known; a review is left at once. A CancelOrder that overtakes
// its OrderPlaced is remembered by a saga that waits for it. After that it comes
// too late, and is kept as ignored.
//
// # Timers
//
// By the database's clock. A command that is not answered in time is sent again
// (a new event with the same step id) with growing pauses; after
// [Config.Attempts] a forward step is given up, and undone as if it had been
// done, since nobody knows. An undo that is given up needs attention, with the
// reason compensation_failed.
//
// # When the process dies
//
//   - before the commit: nothing happened, and the message or the deadline comes
//     again;
//   - after it: the commands are in the outbox, the saga is in its new state, and
//     a redelivery finds the claim. Sagas resume at their last completed step
//     without being looked for: the next reply or deadline moves them;
//   - the answer to COMMIT is lost: the runtime runs the batch again and the claim
//     decides; the timer finds what it moved no longer due.
//
// Two timers at once take different sagas (SKIP LOCKED).
//
// # Metrics
//
//	gapless_saga_instances{status}        sagas that are not over
//	gapless_saga_oldest_running_seconds   age of the oldest that waits for no person
//	gapless_saga_resends_total            commands sent again
//	gapless_saga_given_up_total           steps never answered
//
// # What it does not do
//
// It calls nobody, knows no prices and moves no stock. It is no workflow engine:
// the definition is code, and one version of it runs at a time.
package saga
