package sql

import _ "embed"

// VerifySchema tells what a database holds, and how far back.
//
//go:embed verify_schema.sql
var VerifySchema string

// VerifyCut takes the snapshot and the LSN that the loss check is cut at.
//
//go:embed verify_cut.sql
var VerifyCut string

// VerifyOutbox reads every outbox row of a snapshot.
//
//go:embed verify_outbox.sql
var VerifyOutbox string

// VerifyOutboxFind reads outbox rows by id.
//
//go:embed verify_outbox_find.sql
var VerifyOutboxFind string

// VerifyRelay asks whether the relay has passed an LSN.
//
//go:embed verify_relay.sql
var VerifyRelay string

// VerifyParked reads the events that the relay has put aside.
//
//go:embed verify_parked.sql
var VerifyParked string

// VerifyInbox reads the claims of one consumer.
//
//go:embed verify_inbox.sql
var VerifyInbox string

// VerifyParkedClaims judges claims of messages put aside.
//
//go:embed verify_parked_claims.sql
var VerifyParkedClaims string

// VerifyEffectRepeated judges whether an event was applied twice.
//
//go:embed verify_effect_repeated.sql
var VerifyEffectRepeated string

// VerifyEffectClaimed judges whether each effect has its claim.
//
//go:embed verify_effect_claimed.sql
var VerifyEffectClaimed string

// VerifyStock judges stock against movements.
//
//go:embed verify_stock.sql
var VerifyStock string

// VerifyReservations judges movements against reservations.
//
//go:embed verify_reservations.sql
var VerifyReservations string

// VerifyCharges judges payments against the provider's charges.
//
//go:embed verify_charges.sql
var VerifyCharges string

// VerifyPayments judges money held against orders.
//
//go:embed verify_payments.sql
var VerifyPayments string

// VerifySagas judges whether each saga ends.
//
//go:embed verify_sagas.sql
var VerifySagas string

// VerifyOrders judges whether each order has its saga.
//
//go:embed verify_orders.sql
var VerifyOrders string

// VerifySales judges analytics.sales_by_hour.
//
//go:embed verify_sales.sql
var VerifySales string

// VerifyPoints judges loyalty.points.
//
//go:embed verify_points.sql
var VerifyPoints string

// VerifyMessages judges notification.messages.
//
//go:embed verify_messages.sql
var VerifyMessages string
