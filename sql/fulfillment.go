package sql

import _ "embed"

// FulfillmentLock locks and reads the shipments of orders.
//
//go:embed fulfillment_lock.sql
var FulfillmentLock string

// FulfillmentSave writes shipments, new or changed.
//
//go:embed fulfillment_save.sql
var FulfillmentSave string
