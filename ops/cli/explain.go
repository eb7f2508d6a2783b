package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/internal/pgconnect"
)

// refusal is an error after which going on would lose or repeat data.
type refusal interface {
	error
	// Refusal says what to do.
	Refusal() string
}

// explain turns an error into an exit code and one line: what is wrong, where,
// and how to mend it. A refusal with statements is several lines, so that each
// can be copied.
func explain(err error) (code int, text string) {
	if errors.Is(err, errBroken) {
		return ExitFailed, ""
	}
	if ended, ok := errors.AsType[*endedError](err); ok {
		return ended.code(), ended.text()
	}
	if r, ok := errors.AsType[refusal](err); ok {
		statements := statementsOf(err)
		if len(statements) == 0 {
			return ExitRefused, oneLine(fmt.Sprintf("refused: %v: %s", err, r.Refusal()))
		}
		return ExitRefused, oneLine(fmt.Sprintf("refused: %v", err)) + "\n" + oneLine(r.Refusal()) + "\n" + strings.Join(statements, "\n")
	}
	if u, ok := errors.AsType[usageError](err); ok {
		return ExitUsage, oneLine(parseText(u) + " (see --help)")
	}
	if u, ok := errors.AsType[*api.UsageError](err); ok {
		return ExitUsage, oneLine(u.Error() + " (see --help)")
	}
	if errors.Is(err, context.Canceled) {
		return ExitFailed, "interrupted"
	}
	text, ok := pgconnect.Describe(err)
	if !ok {
		text = err.Error()
	}
	if hint := remedy(err); hint != "" {
		text += ": " + hint
	}
	return ExitFailed, oneLine(text)
}

// statementsOf is the SQL with which a person mends what was refused, ready for
// psql.
func statementsOf(err error) []string {
	r, ok := errors.AsType[interface {
		error
		Statements() []string
	}](err)
	if !ok {
		return nil
	}
	var list []string
	for _, statement := range r.Statements() {
		list = append(list, statement+";")
	}
	return list
}

// remedy knows how to mend what usually goes wrong between this program and its
// servers.
func remedy(err error) string {
	if b, ok := errors.AsType[*brokerError](err); ok {
		return b.remedy
	}
	if a, ok := errors.AsType[*awayError](err); ok {
		return a.remedy
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "28P01", "28000":
			if strings.Contains(pg.Message, "client certificate") {
				return giveCertificate
			}
			return "check user and password in the database URL or its --database-password-file, and pg_hba.conf"
		case "3D000":
			return "create the database first, or correct its name in the database URL"
		case "3F000", "42P01", "42883":
			return "the schema is missing or old: run 'gapless migrate up'"
		case "42501":
			if strings.Contains(pg.Message, "replication role") || strings.Contains(pg.Message, "REPLICATION") {
				return "ALTER ROLE … REPLICATION for this login"
			}
			return "grant the login one of the group roles (gapless_app, gapless_relay, gapless_consumer), or run as the owner"
		case "53300":
			return "too many connections: raise max_connections or lower the pool sizes"
		case "57P03":
			return "the server is starting or stopping: try again"
		}
		return ""
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "listen" {
		choose := "choose another address with --listen or --ops-listen"
		if of, ok := errors.AsType[listenError](err); ok {
			choose = "choose another address with " + of.flag
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return "another program listens there: " + choose
		}
		return choose
	}
	if pgc, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		switch {
		case errors.Is(pgc, syscall.ECONNREFUSED):
			return "start Postgres, or correct host and port in --database-url"
		case errors.Is(pgc, syscall.ENOENT):
			return "start Postgres, or correct the path in --database-url"
		}
		if hint := tlsRemedy(err); hint != "" {
			return hint
		}
		if dns, ok := errors.AsType[*net.DNSError](err); ok {
			return fmt.Sprintf("correct the host name %q in --database-url", dns.Name)
		}
		return "check --database-url"
	}
	if asked, ok := errors.AsType[*url.Error](err); ok {
		return registryRemedy(asked)
	}
	if answer, ok := errors.AsType[*sr.ResponseError](err); ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return "correct --registry-user and its password, or --registry-token-file"
	} else if ok && answer.ErrorCode == 0 {
		return "no registry with Confluent's API is at --registry-url: of Apicurio's URL it is the part /apis/ccompat/v7"
	}
	if errors.Is(err, fs.ErrPermission) {
		return "check the file's permissions"
	}
	return ""
}

const giveCertificate = "the server takes only clients with a certificate that it trusts: give one in the database URL, sslcert=FILE and sslkey=FILE"

// tlsRemedy knows what TLS with Postgres fails of.
func tlsRemedy(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the authority that signed the server's certificate in the database URL: sslrootcert=FILE"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "use the name that the server's certificate has, or give it a certificate with this one"
	}
	if pgconnect.Alerted(err) {
		return giveCertificate
	}
	if pgconnect.RefusesTLS(err) {
		return "the server speaks no TLS: turn ssl on there, or say sslmode=disable in the database URL if nobody can listen in between"
	}
	return ""
}

// registryRemedy knows why a registry gave no answer.
func registryRemedy(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the authority that signed the registry's certificate with --registry-ca"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "use the name that the registry's certificate has in --registry-url"
	}
	if peer, ok := errors.AsType[*net.OpError](err); ok && peer.Op == "remote error" { // an alert of TLS, see crypto/tls
		return "the registry takes only clients with a certificate that it trusts: give one with --registry-cert and --registry-key"
	}
	return "start the registry, or correct --registry-url"
}

// oneLine folds the line breaks that drivers put into their errors.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// parseText is what a mistake in the command line is called. To the parser a command
// that it does not know is one argument too many.
func parseText(err error) string {
	text := err.Error()
	parse, ok := errors.AsType[*kong.ParseError](err)
	if !ok {
		return text
	}
	node := parse.Context.Selected()
	switch {
	case node == nil:
		node = parse.Context.Model.Node
	case node.Parent != nil && node.Parent.DefaultCmd == node && !slices.Contains(parse.Context.Args, node.Name):
		node = node.Parent // which runs it by default
	}
	if name, ok := strings.CutPrefix(text, "unexpected argument "); ok && len(node.Children) > 0 {
		return fmt.Sprintf("%s has no command %s", node.FullPath(), name)
	}
	return text
}
