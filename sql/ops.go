package sql

import _ "embed"

// OpsOutboxList lists rows of the outbox.
//
//go:embed ops_outbox_list.sql
var OpsOutboxList string

// OpsOutboxShow shows one row of the outbox.
//
//go:embed ops_outbox_show.sql
var OpsOutboxShow string

// OpsInboxList lists claims.
//
//go:embed ops_inbox_list.sql
var OpsInboxList string

// OpsSagaList lists sagas.
//
//go:embed ops_saga_list.sql
var OpsSagaList string

// OpsSagaShow shows one saga.
//
//go:embed ops_saga_show.sql
var OpsSagaShow string

// OpsSagaSteps lists the steps of a saga.
//
//go:embed ops_saga_steps.sql
var OpsSagaSteps string

// OpsSagaIgnored lists the replies that a saga ignored.
//
//go:embed ops_saga_ignored.sql
var OpsSagaIgnored string

// OpsDeadList lists dead letters.
//
//go:embed ops_dead_list.sql
var OpsDeadList string

// OpsDeadShow shows one dead letter.
//
//go:embed ops_dead_show.sql
var OpsDeadShow string

// OpsConsumers lists consumers by their inbox.
//
//go:embed ops_consumers.sql
var OpsConsumers string

// OpsBlocked lists blocked keys.
//
//go:embed ops_blocked.sql
var OpsBlocked string

// OpsRelays lists relays and how far behind they are.
//
//go:embed ops_relays.sql
var OpsRelays string

// OpsParkedMatch lists the parked rows that a filter chooses.
//
//go:embed ops_parked_match.sql
var OpsParkedMatch string

// OpsParkedSlots tells of which slots there may be parked rows.
//
//go:embed ops_parked_slots.sql
var OpsParkedSlots string

// OpsParkedRequest asks the relay to redrive or discard parked rows.
//
//go:embed ops_parked_request.sql
var OpsParkedRequest string

// OpsParkedOutcome tells how far a request is.
//
//go:embed ops_parked_outcome.sql
var OpsParkedOutcome string

// OpsReplays lists replays.
//
//go:embed ops_replays.sql
var OpsReplays string

// OpsSlots shows the slots of relays whose state is in Kafka.
//
//go:embed ops_slots.sql
var OpsSlots string

// OpsMoment tells who asks and where the log is.
//
//go:embed ops_moment.sql
var OpsMoment string

// OpsMayMakeRoles tells whether the login may make roles.
//
//go:embed ops_may_make_roles.sql
var OpsMayMakeRoles string
