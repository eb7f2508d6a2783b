package pgconnect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errMoved keeps a pool from having connections to two databases.
var errMoved = errors.New("the database URL names another server or database than at the start: restart to follow it")

// Fresh is for [pgxpool.Config.BeforeConnect]: the connection is made with the user, the
// password and the certificates that source's connection string and the files it names
// (passfile, sslcert, sslkey, sslrootcert, service) have now. Where they lead is decided
// at the start: another host, port or database is an error. An error, also of a file
// that cannot be read, is of that connection alone, and nothing was sent.
func Fresh(source func() (string, error)) func(context.Context, *pgx.ConnConfig) error {
	return func(_ context.Context, c *pgx.ConnConfig) error {
		text, err := source()
		if err != nil {
			return &secretsError{err}
		}
		now, err := Parse(text)
		if err != nil {
			return &secretsError{err}
		}
		n := &now.ConnConfig.Config
		if n.Database != c.Database || !slices.Equal(addresses(n), addresses(&c.Config)) {
			return &secretsError{errMoved}
		}
		c.User, c.Password, c.TLSConfig, c.Fallbacks = n.User, n.Password, n.TLSConfig, n.Fallbacks
		return nil
	}
}

// Again is Fresh for one connection string: its files are read again.
func Again(text string) func(context.Context, *pgx.ConnConfig) error {
	return Fresh(func() (string, error) { return text, nil })
}

// addresses are where c leads, each once: some modes of TLS try one twice.
func addresses(c *pgconn.Config) []string {
	list := []string{fmt.Sprint(c.Host, " ", c.Port)}
	for _, f := range c.Fallbacks {
		list = append(list, fmt.Sprint(f.Host, " ", f.Port))
	}
	return slices.Compact(list)
}

// secretsError is a connection that was not tried, for want of what to show.
type secretsError struct{ err error }

// Error has no cause to unwrap: whose it is, as a mistake in flags, was judged at the
// start.
func (e *secretsError) Error() string { return "connect to Postgres: " + oneLine(e.err) }

// SafeToRetry is asked by pgconn.SafeToRetry.
func (e *secretsError) SafeToRetry() bool { return true }
