package sql

import _ "embed"

// OutboxAppend inserts any number of events in one statement.
//
//go:embed outbox_append.sql
var OutboxAppend string

// OutboxEmit writes one event as a transactional logical message.
//
//go:embed outbox_emit.sql
var OutboxEmit string

// OutboxPartitionsCreate keeps daily partitions of the outbox ready.
//
//go:embed outbox_partitions_create.sql
var OutboxPartitionsCreate string

// OutboxAppendOne inserts one event.
//
//go:embed outbox_append_one.sql
var OutboxAppendOne string

// OutboxEvents reads every event as it was written.
//
//go:embed outbox_events.sql
var OutboxEvents string

// OutboxRetire takes old partitions off the outbox.
//
//go:embed outbox_retire.sql
var OutboxRetire string

// OutboxUnproven counts what keeps old partitions on it.
//
//go:embed outbox_unproven.sql
var OutboxUnproven string

// OutboxDropRetired drops what was taken off.
//
//go:embed outbox_drop_retired.sql
var OutboxDropRetired string
