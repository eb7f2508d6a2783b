// Package debezium reads the configuration of a Debezium outbox connector: Kafka
// Connect's JSON or properties, or Debezium Server's application.properties. And it
// reads how far a connector has got, from Connect's topic of offsets or from the file
// of a standalone worker or of Debezium Server.
//
// # Promise
//
// Every option is one of three things, and none is passed over in silence:
//
//   - taken: it is in the Plan, or what it asks for is what the relay always does;
//   - noted: it has no counterpart that it needs, and the note says why;
//   - refused by its name: the records, or the promise behind them, would be others.
//
// A Plan that was returned without an error makes the records that the connector
// made.
//
// # What it does not do
//
// A configuration connects to nothing. A password is not copied: the Plan's URL has
// none. Offsets in Redis, in a database or in other storage of Debezium Server are not
// read.
package debezium
