package sql

import _ "embed"

// TraceFindOrder finds the order of an order or saga id.
//
//go:embed trace_find_order.sql
var TraceFindOrder string

// TraceFindEvent finds the aggregate of an event.
//
//go:embed trace_find_event.sql
var TraceFindEvent string

// TraceFindDeadLetter finds the key of an event by its dead letter.
//
//go:embed trace_find_dead_letter.sql
var TraceFindDeadLetter string

// TraceFindTrace finds the order of a trace id.
//
//go:embed trace_find_trace.sql
var TraceFindTrace string

// TraceFindTraceEvent finds the aggregate of a trace id.
//
//go:embed trace_find_trace_event.sql
var TraceFindTraceEvent string

// TraceEvents reads the outbox rows of an aggregate id.
//
//go:embed trace_events.sql
var TraceEvents string

// TraceClaims reads the claims of events.
//
//go:embed trace_claims.sql
var TraceClaims string

// TracePutAside reads dead letters and attempts of events.
//
//go:embed trace_put_aside.sql
var TracePutAside string

// TraceParked reads what the relay put aside.
//
//go:embed trace_parked.sql
var TraceParked string

// TraceOrder reads request, order and saga.
//
//go:embed trace_order.sql
var TraceOrder string

// TraceParticipants reads what the participants hold of an order.
//
//go:embed trace_participants.sql
var TraceParticipants string
