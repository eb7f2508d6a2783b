// Package pgconnect is what all connections to Postgres have in common: each is made
// with the secrets that its files have then, see [Fresh], and no error holds one.
//
// It says in one line why Postgres could not be connected to: the driver's own account
// has a part for each address and each way of TLS it tried, mostly the same one several
// times.
package pgconnect

import (
	"crypto/x509"
	"errors"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Describe returns what is wrong, with the address, each thing once; ok is false
// when err is not about connecting.
func Describe(err error) (text string, ok bool) {
	connect, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return "", false
	}
	verb := "cannot reach Postgres at "
	if _, answered := errors.AsType[*pgconn.PgError](connect); answered {
		verb = "connect to Postgres at "
	}
	var reasons []string
	for _, e := range attempts(connect.Unwrap()) {
		if r := reason(e); !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	}
	return verb + strings.Join(reasons, "; "), true
}

func attempts(err error) []error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	return []error{err}
}

// reason is one attempt's: the address, and what the server or the system said.
func reason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Name + ": " + dns.Err
	}
	text := oneLine(err)
	address, detail, ok := strings.Cut(text, " (") // address (host): what failed
	if !ok {
		return text
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return address + ": " + pg.Message
	}
	if system, ok := errors.AsType[*os.SyscallError](err); ok {
		return address + ": " + system.Err.Error()
	}
	if _, rest, ok := strings.Cut(detail, "): "); ok {
		detail = rest
	}
	return address + ": " + detail
}

// Distrusts tells whether client and server do not trust each other, or do not both
// speak TLS: waiting does not help, until a person changes something.
func Distrusts(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
		return false
	}
	return errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError)) || Alerted(err) || RefusesTLS(err)
}

// Alerted tells whether the server has ended TLS for what the client is, which shows no
// certificate that it takes.
func Alerted(err error) bool {
	peer, ok := errors.AsType[*net.OpError](err)
	return ok && peer.Op == "remote error" // see crypto/tls
}

// RefusesTLS tells whether the server speaks no TLS.
func RefusesTLS(err error) bool {
	return strings.Contains(err.Error(), "server refused TLS connection")
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
