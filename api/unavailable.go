package api

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// unavailable reports whether err says that Postgres cannot serve anybody right
// now, so that the same request may well succeed later.
func unavailable(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pgErr.Code {
		case "57P01", "57P02", "57P03": // shutting down, crashed, starting up
			return true
		case "25006": // the primary has become a standby
			return true
		case "0A000": // READ WRITE on a standby; a plan that a migration has outdated, which pgx then forgets
			return true
		case "40001", "40P01", "55P03": // another transaction was in the way
			return true
		case "57014": // the request's own timeout
			return true
		case "28P01", "28000", "3D000": // a password being rotated, a database being restored
			return true
		}
		switch pgErr.Code[:min(2, len(pgErr.Code))] {
		case "08", "53", "58": // connection, resources (disk full, too many connections), I/O
			return true
		}
		return false
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return true
	}
	return pgconn.SafeToRetry(err) || pgconn.Timeout(err) || errors.Is(err, pgconn.ErrConnClosed)
}

// nothingWritten reports whether a pipeline that failed at its statement
// number index has certainly left nothing behind. commit is COMMIT's number.
//
// The server answers statements in order, so an error that it reports before
// COMMIT's answer means that COMMIT never ran. At COMMIT itself ERROR means
// rolled back, but FATAL may come after the commit record is on disk (a backend
// ended while it waited for a standby).
func nothingWritten(err error, index, commit int) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return pgconn.SafeToRetry(err) // before the first byte was sent
	}
	severity := pgErr.SeverityUnlocalized
	return index < commit || severity == "ERROR"
}
