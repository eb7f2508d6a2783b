package sql

import _ "embed"

// PaymentRead reads payments without a lock.
//
//go:embed payment_read.sql
var PaymentRead string

// PaymentLock locks and reads the payments of orders.
//
//go:embed payment_lock.sql
var PaymentLock string

// PaymentSave writes payments, new or changed.
//
//go:embed payment_save.sql
var PaymentSave string

// SandboxAuthorize is the sandbox gateway's authorisation.
//
//go:embed sandbox_authorize.sql
var SandboxAuthorize string

// SandboxCapture is the sandbox gateway's capture.
//
//go:embed sandbox_capture.sql
var SandboxCapture string

// SandboxAuthorizationSpend spends the key of an authorisation to be voided.
//
//go:embed sandbox_authorization_spend.sql
var SandboxAuthorizationSpend string

// SandboxVoid is the sandbox gateway's void.
//
//go:embed sandbox_void.sql
var SandboxVoid string

// SandboxRefund is the sandbox gateway's refund.
//
//go:embed sandbox_refund.sql
var SandboxRefund string
