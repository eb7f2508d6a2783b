// Package eventrouter is the format of Debezium's outbox event router: the records
// that Kafka Connect with io.debezium.transforms.outbox.EventRouter makes of the rows
// of an outbox table.
//
// # Promise
//
//   - Topic, key, value, headers, and where an option sets them partition and
//     timestamp, are byte for byte those of Debezium 3.6: package golden holds what it
//     sent for some two hundred tables and options.
//   - The same row is the same record, however often it is sent.
//   - Where Debezium's task would die (a column that is missing, a value that a
//     converter does not take, an array at the top of an expanded payload), the row is
//     a *format.Fault, and the stream goes on without it.
//
// # Where it differs, on purpose
//
//   - Without an option for it, the record's timestamp is the commit's, not that of
//     the connector's work, which a resend could not repeat.
//   - timestamptz is taken as event timestamp, and smallint and bigint as partition:
//     Debezium dies of them.
//   - The trace context in a row is sent as it is: Debezium with OpenTelemetry makes a
//     new one, of a span of its own.
//   - The header __debezium.context.runId is not sent: it differs with every run.
//   - The schema of an envelope is named after each row's routed value; Debezium names
//     it after the first one that it met since its start.
//   - Bits and the parts of a point or of a numeric without a scale, which Java prints
//     by their place in memory, are base64 where a text is asked of them.
//   - What is computed for a column's default at each row is not known here, as it is
//     not to Debezium; what it shows instead is the same but for functions of its own.
//   - A regular expression with a class in a class, an intersection of classes or a
//     flag other than (?i) is refused: only Java reads it.
//
// # What it does not do
//
// The types box, lseg, path, polygon, circle, line, hstore, ltree, geometry and vector
// are left out, as if the table did not have the column.
package eventrouter
