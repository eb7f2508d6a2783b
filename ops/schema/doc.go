// Package schema registers, checks and compares the contracts of Gapless with a
// schema registry that speaks Confluent's API, and keeps what the registry
// answered in Postgres.
//
// # Promise
//
//   - [Register] puts every contract under its subject (TopicRecordName) as
//     Protobuf, with the files it imports as references, then stores ids, texts
//     and flattened descriptors in gapless.schema_version. From then on neither a
//     checkout nor psql asks the registry: contracts.Load and gapless.decode()
//     read that table. It is idempotent.
//   - [Check] compares the contracts with what a registry or a directory holds
//     and names each break: message, field, what breaks, and how to mend it.
//     [Diff] shows what is no break, too.
//
// # What a break is
//
// An event is never rewritten, so the newest reader must read all that was ever
// written, in both encodings: what Protobuf's wire format would forgive (another
// name) and what its JSON would forgive (another number) are both breaks. So is
// what only means something else: a new field that must be set, or a new enum
// whose zero is a real answer, since an old event has neither.
//
// # Invariants
//
//   - Nothing is registered when one contract breaks.
//   - An id in gapless.schema_version is never given another text. A registry
//     that answers otherwise than the one before is refused ([ConflictError]):
//     consumers would read old events by the wrong schema.
//
// # When the process dies
//
// Between registering and storing, the registry knows more than the database:
// writers go on with the ids they have, and the next Register stores the same
// answers. The store itself is one transaction. Two at once take turns on a lock
// of the table; the registry gives both the same ids.
//
// # What it does not do
//
// It deletes nothing, neither subjects nor versions, and is not called while
// serving: it is a deploy step.
package schema
