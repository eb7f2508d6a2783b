package sql

import _ "embed"

// AnalyticsSalesAdd adds confirmed orders to their hours.
//
//go:embed analytics_sales_add.sql
var AnalyticsSalesAdd string
