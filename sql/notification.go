package sql

import _ "embed"

// NotificationAppend writes mails to be sent.
//
//go:embed notification_append.sql
var NotificationAppend string

// NotificationClaim takes mails that are due.
//
//go:embed notification_claim.sql
var NotificationClaim string

// NotificationSettle writes what became of one mail.
//
//go:embed notification_settle.sql
var NotificationSettle string

// NotificationRelease gives back mails that were not tried.
//
//go:embed notification_release.sql
var NotificationRelease string
