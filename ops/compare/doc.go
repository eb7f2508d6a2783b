// Package compare sets two topics against each other, record by record: those of a
// relay that runs in the shadow of another against the other's.
//
// # Promise
//
//   - The verdict is of all records that were there when it began. A record is known
//     by its event id, so that repeats, and the order in which partitions are read, do
//     not count.
//   - What the one topic has and the other has not is a difference only where something
//     behind it is in both: the end of each topic is where the other may still be
//     catching up, and is counted apart.
//   - Per key, the first occurrences of what both have must come in the same order.
//
// # What it does not do
//
// It keeps 100 bytes or so for each event in memory; payloads are compared by their
// SHA-256 and never printed. It does not compare timestamps unless asked, since
// Debezium's are those of its own work.
package compare
