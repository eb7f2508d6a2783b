// Package outbox writes events into the transactional outbox, in the caller's
// own Postgres transaction.
//
//	tx, _ := pool.Begin(ctx)
//	// … the change itself, on tx …
//	err := outbox.Append(ctx, tx, outbox.Event{
//		AggregateType: "order", AggregateID: id, AggregateVersion: version,
//		Type: "OrderPlaced", Payload: body,
//	})
//	// … tx.Commit
//
// # Promise
//
// An appended event exists exactly when the transaction commits: never without
// the change, and the change never without it. The relay then delivers it at
// least once, and events of one aggregate in commit order.
//
// # Invariants
//
//   - Any number of events costs one round trip, or none of its own with
//     [Writer.Queue].
//   - Every event is validated before the first byte is sent. An invalid one
//     returns a [*ValidationError] that names the event and the field, and the
//     transaction is as usable as before.
//   - Ids are UUIDv7, made here unless given, in ascending order within a call.
//   - Trace context and correlation ids of ctx ([WithHeaders]) go into the
//     row's headers; what the event itself carries wins.
//
// Every QueryExecMode of pgx will do, so a pooler in transaction mode will too.
//
// # Order
//
// Neither id nor created_at is commit order. Whoever needs order for an
// aggregate locks its row (SELECT … FOR UPDATE, or an UPDATE of the row) and
// assigns AggregateVersion under that lock.
//
// # When the process dies
//
// Before COMMIT nothing was written. After COMMIT the event is in the WAL and
// will be relayed. If the answer to COMMIT is lost, the outcome is unknown:
// look for the change (or the event id) before trying again, or make the whole
// request idempotent.
//
// # WAL mode
//
// [Config.Mode] WAL writes the event with pg_logical_emit_message instead of a
// row: no table, no index, no clean-up. Its limits: psql cannot see the event,
// it cannot be replayed, and it cannot be recovered once its WAL is gone. Only
// [ModeTable] survives a lost slot.
//
// The relay sends such events only where it is told to (gapless relay --messages
// gapless.outbox): a message needs no right on any table, and by default every login of
// the database may emit one. Let only the writers do that:
//
//	GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) TO my_app;
//	REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text),
//	                           pg_logical_emit_message(boolean, text, bytea) FROM PUBLIC;
//
// From Postgres 17 on both functions have a fourth argument, boolean. Run it before the
// relay is told: what others emitted until then would be sent.
//
// # What it does not do
//
// It knows no broker and no topic, opens no connection, starts no goroutine,
// and commits nothing.
package outbox
