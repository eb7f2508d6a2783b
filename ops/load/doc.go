// Package load places orders over HTTP as customers would, a mix of every
// outcome, and follows each to its end.
//
// # Promise
//
// Every order is placed with an Idempotency-Key of its own and tried again with
// the same key until the answer is known: a 409, 429, 5xx, a refused connection
// and a lost answer are all "not known yet". So after a run each order exists
// exactly once, whatever was killed in between, or the run says which do not.
//
// Each order has an expected end. [Report.Unexpected] lists those that ended
// otherwise; an outage of a participant may delay an end but not change it.
//
// # What it does not do
//
// It looks at no database: what it reports is what a customer sees.
package load
