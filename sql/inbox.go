package sql

import _ "embed"

// InboxBegin opens a batch's transaction.
//
//go:embed inbox_begin.sql
var InboxBegin string

// InboxGround tells on which timeline a batch is, and makes it durable.
//
//go:embed inbox_ground.sql
var InboxGround string

// InboxClaim claims a batch's events for a consumer; it returns the new ones.
//
//go:embed inbox_claim.sql
var InboxClaim string

// InboxBlocked returns the blocked keys among those of a batch, locked.
//
//go:embed inbox_blocked.sql
var InboxBlocked string

// InboxWait puts claimed messages behind their blocked keys.
//
//go:embed inbox_wait.sql
var InboxWait string

// InboxCommit ends a batch's transaction.
//
//go:embed inbox_commit.sql
var InboxCommit string

// InboxRollback abandons a batch's transaction.
//
//go:embed inbox_rollback.sql
var InboxRollback string

// InboxSeen returns which events of a batch need no work any more.
//
//go:embed inbox_seen.sql
var InboxSeen string

// InboxBlockedPeek returns the blocked keys among those of a batch, unlocked.
//
//go:embed inbox_blocked_peek.sql
var InboxBlockedPeek string

// InboxPark makes a message a dead letter and blocks its key.
//
//go:embed inbox_park.sql
var InboxPark string

// InboxAttemptPeek tells how many tries are counted against messages.
//
//go:embed inbox_attempt_peek.sql
var InboxAttemptPeek string

// InboxAttemptRecord counts a try at each of some messages, before or after it.
//
//go:embed inbox_attempt_record.sql
var InboxAttemptRecord string

// InboxAttemptClear forgets the tries at messages that are settled.
//
//go:embed inbox_attempt_clear.sql
var InboxAttemptClear string

// InboxAssign takes a partition and tells who left it behind.
//
//go:embed inbox_assign.sql
var InboxAssign string

// InboxUnassign lets go of a partition in good order.
//
//go:embed inbox_unassign.sql
var InboxUnassign string

// InboxOffsetLoad tells how far partitions are settled in the database.
//
//go:embed inbox_offset_load.sql
var InboxOffsetLoad string

// InboxOffsetSave stores how far partitions are settled.
//
//go:embed inbox_offset_save.sql
var InboxOffsetSave string

// InboxPartitionsCreate keeps daily partitions of the inbox ready.
//
//go:embed inbox_partitions_create.sql
var InboxPartitionsCreate string

// InboxStanding counts what stands still for a consumer.
//
//go:embed inbox_standing.sql
var InboxStanding string
