// Package api is the REST checkout: it takes orders and says what became of
// them. openapi.yaml is its contract and what the routes are generated from.
//
// # Promise
//
//   - A 202 means that the order, its OrderPlaced event and the answer itself
//     are committed: one transaction, sent in one round trip.
//   - A request takes effect once for each (principal, route, Idempotency-Key),
//     however often and however concurrently it is sent. A repeat gets the bytes
//     of the first answer.
//   - A checkout needs Postgres only. No broker and no registry is ever called.
//   - Every error is application/problem+json with a stable type; of a wrong
//     body it names every fault by JSON pointer.
//
// # The transaction of an order
//
//	BEGIN · lock_timeout · INSERT key · lock_timeout · INSERT order, items · INSERT outbox · COMMIT
//
// goes out as one pipeline that ends in a single Sync. Postgres runs what is
// before the Sync in order and, after the first error, passes over everything
// up to it, COMMIT included. So either all of it is committed or nothing:
//
//   - the key is new: everything runs;
//   - a twin has committed (23505 at the key): nothing runs; the stored answer
//     is read, and given if the request's hash is the same, else 422;
//   - a twin is running (55P03 at the key): nothing runs; 409, Retry-After;
//   - a twin has rolled back: the insert was waiting for it and goes on.
//
// An error of severity ERROR, or any error before COMMIT's own answer that the
// server itself reports, means: nothing was written. Everything else, a lost
// connection first of all, is an unknown outcome and is answered 503 with a
// problem type of its own: the same key finds out.
//
// Twins within one process wait for each other before they take a connection.
//
// # Prices
//
// An order has the price of the catalogue at placement, give or take
// [Config.PriceAge], for which a price may be remembered. The price written
// into the order, its items, its event and the answer is one and the same
// value. A request whose SKU has left the catalogue since its first try still
// gets the stored answer.
//
// # Who sees what
//
// With auth keys a principal is the name of a key. An order is seen by its
// principal and by operators; to others it does not exist (404). With auth
// none, which is refused on any but a loopback address, everybody is the
// operator "anonymous".
//
// # When the process dies
//
//   - before the pipeline is sent: nothing happened;
//   - while it runs: Postgres has all of it or rolls back when it finds the
//     connection gone;
//   - after COMMIT, before the answer: the order stands, and the same key gets
//     the stored answer;
//   - while somebody waits (Prefer, server-sent events): they ask again.
//
// Any number of processes may run: nothing is shared but the database.
//
// # Waiting
//
// Prefer wait=N and server-sent events share one query, every 25 ms, for all
// orders that anybody waits for, and none while nobody does. Waiters do not
// hold a connection, nor one of the [Config.MaxConcurrent] places.
//
// # Commands
//
// Cancel and review write a command for the saga into the outbox, after a look
// at the order. The look takes no lock: the saga decides, under its own. One
// command of a kind goes out for each order while its key row is kept.
//
// # What it does not do
//
// It never changes an order: the saga does. It keeps no state in memory but
// prices and principals for some seconds. It does not rate-limit a principal.
//
// # Metrics
//
//   - gapless_http_requests_in_flight, gapless_http_streams: gauges
//   - gapless_http_request_duration_seconds{method,route,code}: histogram
//   - gapless_http_panics_total
//   - gapless_checkout_requests_total{result}: accepted, replayed, in_flight,
//     mismatch, invalid, unavailable, unknown, error
//   - gapless_checkout_duration_seconds: the transaction's round trip, histogram
//   - gapless_idempotency_requests_total{result}: first, replayed, conflict,
//     mismatch
//   - gapless_idempotency_keys_deleted_total: retention
//   - gapless_checkout_connections{state}: acquired, idle, max
package api
