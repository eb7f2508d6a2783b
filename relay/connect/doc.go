// Package connect is the part of Kafka Connect that gives a record its bytes: its
// data model, as far as a row of Postgres needs it, and its converters.
//
// A [Value] with its [Schema] becomes bytes by one of the converters that users of
// Connect name by class:
//
//	StringConverter         AppendString   Java's toString
//	SimpleHeaderConverter   AppendSimple   Connect's own text, the default of headers
//	JsonConverter           JSON.Append    with schemas AppendSchema before it
//	BinaryDataConverter     bytes as they are, all else by a delegate
//	ByteArrayConverter      bytes as they are, nothing else
//
// A payload that is JSON text is expanded by [Expander] into a structure of its own,
// in the way of Debezium's outbox router.
//
// # Promise
//
// The bytes are those that Kafka Connect 4.3 sends; the cases of package golden were
// captured from it. What it cannot convert is an error here too.
//
// # What it does not do
//
// It reads nothing back. Doubles are printed as Java 19 and later print them; older
// ones print some with a digit more. Arrays of objects that differ get their fields
// in the order in which they appear; Connect's order is that of a hash table whose
// hashes change with each start.
//
// Sources: org.apache.kafka.connect.json.JsonConverter, …connect.data.Values and
// Struct, io.debezium.transforms.outbox.JsonSchemaData.
package connect
