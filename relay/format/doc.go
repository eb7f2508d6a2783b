// Package format makes the record that goes to the broker out of a row of the
// replication stream.
//
// Three formats are here, one type each; package eventrouter has the one for tables in the
// shape of Debezium's outbox:
//
//	Native      gapless.outbox: CloudEvents and Gapless headers beside the row's own
//	Emitted     the same event, written as a logical message
//	DeadLetter  gapless.dead_letter: the message as it was, plus gapless_dlq_ headers
//
// It promises:
//
//   - the same row at the same position gives the same bytes, on every resend, as long as
//     the table is what it was: see Attribute for what is known of it as of now alone;
//   - columns are found by name in the newest Relation: an unknown column is
//     ignored, a reordered one is found, a missing one that is needed is an
//     error of Prepare that names table and column;
//   - a row that cannot become a record is a *Fault with a reason, never a
//     record that is almost right, and never a panic (fuzzed);
//   - the record's bytes are copied out of the row: the stream's buffer may be
//     reused at once;
//   - no allocation per row once the buffers have grown, but for header names
//     and topics seen for the first time and for escaped header values.
//
// It does no I/O. Of the Kafka client it uses the type of a header alone.
package format
