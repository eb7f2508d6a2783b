// Package pgoutput decodes the messages of Postgres' pgoutput plugin,
// protocol version 1, with or without the option binary.
//
// It promises:
//
//   - no allocation per message once a Message's slices have grown;
//   - values are views into the bytes given to Decode: copy what must outlive
//     them;
//   - any input either decodes whole, without a byte left over, or is an
//     error that names the message and the field. It never panics and never
//     reads past its input (fuzzed).
//
// It does not interpret values (that is package format's work), keeps no
// state between messages, and does not know protocol versions 2 to 4
// (streamed and two-phase transactions): their messages are an error, because
// a relay that skipped one would lose rows.
//
// Wire format: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
package pgoutput
