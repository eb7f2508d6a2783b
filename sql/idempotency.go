package sql

import _ "embed"

// IdempotencyKeyDeleteOld deletes one batch of keys past retention.
//
//go:embed idempotency_key_delete_old.sql
var IdempotencyKeyDeleteOld string

// IdempotencyKeyFind reads the answer stored under a key.
//
//go:embed idempotency_key_find.sql
var IdempotencyKeyFind string

// IdempotencyKeyInsert claims a key.
//
//go:embed idempotency_key_insert.sql
var IdempotencyKeyInsert string

// IdempotencyLockTimeout bounds the wait for a running twin.
//
//go:embed idempotency_lock_timeout.sql
var IdempotencyLockTimeout string

// IdempotencyLockTimeoutReset ends what IdempotencyLockTimeout began.
//
//go:embed idempotency_lock_timeout_reset.sql
var IdempotencyLockTimeoutReset string
