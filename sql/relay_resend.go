package sql

import _ "embed"

// RelayResend is what a person runs after a slot was lost: it writes the rows
// again that the relay of the slot gapless may not have sent.
//
//go:embed relay_resend.sql
var RelayResend string

// RelayFollowSlot is what a person runs after RelayResend: the record begins
// again where the slot is.
//
//go:embed relay_follow_slot.sql
var RelayFollowSlot string
