// Package inspect reads what the list commands show: outbox, inbox, sagas, dead
// letters, and where relay and consumers stand. It returns plain structs with
// JSON names that stay; how they are printed is the caller's.
//
// # Promise
//
// It writes nothing and takes no lock beyond ACCESS SHARE. gapless_readonly may
// call it all. Each list has filters of which an empty one takes everything, and
// a limit, 100 by default. Payloads are shown by the show functions alone.
//
// # Following
//
// Rows of an outbox become visible in the order of their commits, which is not the
// order of their ids or times. [FollowOutbox] therefore asks for all rows younger
// than an overlap again and again, and passes each on once; the row of a
// transaction that stayed open for longer than the overlap is not shown. Whoever
// must not miss one reads Kafka.
//
// # Lag
//
// [Consume] asks Kafka for ends and committed offsets, and for the oldest message
// that is not behind an offset yet: its age is the lag in seconds. A broker that
// is away is an error; the tables tell what they know through [Consumers] still.
//
// # When it dies
//
// Nothing is left behind.
package inspect
