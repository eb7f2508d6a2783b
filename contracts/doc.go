// Package contracts holds the events and commands of the order pipeline and
// turns them into bytes and back.
//
// # Promise
//
// [Codec.Encode] needs no registry: schema ids are registered by the deploy
// step (gapless schema register), kept in gapless.schema_version, and read once
// with [Load]. So a checkout works while the registry is down. [Decode] needs
// nothing at all: it goes by the record's content-type and type name, and by
// the message types compiled into the program.
//
// # Formats
//
//   - application/protobuf: Confluent wire format. One zero byte, the schema id
//     (four bytes, big endian), the message indexes (zigzag varints, one zero
//     byte for the first message of the file), then the Protobuf bytes.
//   - application/json: protojson, compact.
//
// # Invariants
//
//   - Messages change backward compatibly only: the newest reader reads every
//     event that was ever written. A breaking change is a new message type, and
//     both are published for a while.
//   - What cannot be decoded is an error of type [*DecodeError], never a message
//     with holes.
//
// # What it does not do
//
// It speaks to no registry; ops does that for the deploy step.
package contracts
