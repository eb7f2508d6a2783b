package sql

import _ "embed"

// LoyaltyPointsAppend writes ledger entries.
//
//go:embed loyalty_points_append.sql
var LoyaltyPointsAppend string
