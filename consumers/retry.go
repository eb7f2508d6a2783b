package consumers

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// lostError is a database that could not be asked: its answer is unknown.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// ownError is a failure of what the runtime does before any handler runs: no
// message can be at fault for it.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// errStopping ends the work on a partition that is being given up.
var errStopping = errors.New("the partition is being given up")

// verdict is what an error means for the messages it hit.
type verdict int

const (
	// again: nothing is wrong with any message; the same transaction once more,
	// no attempt counted.
	again verdict = iota
	// hold: a dependency is down, or the schema is not the one that the handler
	// was written for; the partition waits, no attempt counted.
	hold
	// failed: a message, or its handler, is at fault.
	failed
)

func judge(err error) verdict {
	if IsUnavailable(err) {
		return hold
	}
	if _, ok := errors.AsType[*lostError](err); ok {
		return again
	}
	if _, ok := errors.AsType[*ownError](err); ok {
		return again
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return failed
	}
	switch pg.Code {
	case "3F000", "42P01", "42703", "42883", // no such schema, table, column, function: deployed before its migration
		"42501": // insufficient_privilege: deployed before its grants
		return hold
	case "0A000", // feature_not_supported: a plan that a migration has outdated, which pgx then forgets
		"26000", "42P05": // a prepared statement is unknown, or known already: a pooler has changed the server session
		return again
	}
	switch pg.Code {
	case "40001", // serialization_failure
		"40P01", // deadlock_detected
		"55P03", // lock_not_available
		"57014", // query_canceled: statement_timeout, so a database that is slow; or a person
		"57P01", // admin_shutdown
		"57P02", // crash_shutdown
		"57P03", // cannot_connect_now: the server starts or stops
		"57P05", // idle_session_timeout: between two batches
		"25006": // read_only_sql_transaction: a primary was demoted under us
		return again
	}
	switch {
	case strings.HasPrefix(pg.Code, "08"), // connection exceptions, of a pooler in between too
		strings.HasPrefix(pg.Code, "53"), // out of disk, memory, connections: the server's trouble
		strings.HasPrefix(pg.Code, "58"): // the server's files
		return again
	}
	return failed
}

var errWithheld = errors.New("a handler failed: gapless.inbox_attempt has its error")

// public is what log and status may tell of an error. What a handler says of a
// failure may hold payload and goes to the database alone.
func public(err error) error {
	_, isOwn := errors.AsType[*ownError](err)
	_, isLost := errors.AsType[*lostError](err)
	pg, isPg := errors.AsType[*pgconn.PgError](err)
	switch {
	case isOwn || isLost || IsUnavailable(err):
		return err
	case isPg && judge(err) != failed:
		return pg // these codes come with names, not values
	}
	return errWithheld
}

// backoff is the pause after the n-th try (from 1): doubled each time up to
// limit, and half of it random, so that those who failed together do not try
// again together.
func backoff(base, limit time.Duration, n int) time.Duration {
	d := limit
	if n < 20 && base<<(n-1) < limit {
		d = base << (n - 1)
	}
	return d/2 + rand.N(d/2+1)
}

// Pauses that no handler has a say in.
const (
	againBase, againLimit = 10 * time.Millisecond, 5 * time.Second
	holdBase, holdLimit   = 250 * time.Millisecond, 15 * time.Second
	retryLimit            = 10 * time.Second
)

// triesTogether is how often a batch is tried that a statement of its handlers
// times out in, or waits too long for a lock.
const triesTogether = 3

// isStatements tells whether the server answered a handler's statement: it is
// there, and takes transactions.
func isStatements(err error) bool {
	_, isOwn := errors.AsType[*ownError](err)
	_, isLost := errors.AsType[*lostError](err)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && !isOwn && !isLost && (pg.Code == "57014" || pg.Code == "55P03" || pg.Code == "40P01" || pg.Code == "40001")
}

// triesAtLeast come before RetryMessages counts.
const triesAtLeast = 3

// pause waits, unless ctx ends or the partition is given up.
func (l *lane) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-l.stop:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}
