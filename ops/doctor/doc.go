// Package doctor looks at an installation and says of each thing that has to be right
// whether it is, what was found, and what to do about it, in one line.
//
// # Promise
//
//   - A check is judged by itself. One that cannot be judged, because a server is away,
//     a right is missing or the schema is not there yet, says so and why; the others go
//     on.
//   - Nothing is written anywhere. Postgres is read in transactions that are read-only,
//     and no transaction id is used up; of Kafka only what describes is asked, and no
//     group is joined.
//   - gapless_readonly and gapless_relay are enough. What they may not see is not judged.
//   - It ends: each check, and each first look at a server, has [Config.Timeout].
//
// # Outcomes
//
//	ok          as it should be
//	warning     works now, and will not under a fault or a load that is to be expected
//	fault       does not work, or loses data
//	not judged  could not be looked at; Found says why
//
// [IDs] are the checks in their order. An id stays; a check that goes leaves its id
// unused.
//
// # What it does not do
//
// It judges how things are set up and where they stand now. Whether every event has
// arrived is [github.com/gapless/gapless/ops/verify]'s to say, which reads all of them.
// It mends nothing: a fix is for a person to read first. Of an outbox it reads the
// newest events, of another table a sample: a topic for rows that neither shows is not
// missed.
//
// The clock of a Kafka broker can be seen only where a broker has stamped a record
// lately: in the topic of the consumers' offsets, or one with LogAppendTime.
//
// # When it dies, or runs twice
//
// Nothing is left behind; two at once do not know of each other. The check
// replication-connection takes one of max_wal_senders for a moment.
package doctor
