package cli

import (
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/ops/secure"
)

// verified adds sslmode=verify-full to a database URL that names no mode and leads to
// another machine: libpq's default would take any certificate, or none at all, and
// whoever is in between would read the password. An explicit mode is never changed.
func verified(text string) string {
	c, err := pgxpool.ParseConfig(text)
	if err != nil || namesMode(text) || !remote(c.ConnConfig.Config) {
		return text
	}
	if u, err := url.Parse(text); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		q := u.Query()
		q.Set("sslmode", "verify-full")
		u.RawQuery = q.Encode()
		return u.String()
	}
	return text + " sslmode=verify-full"
}

func namesMode(text string) bool {
	return strings.Contains(text, "sslmode") || strings.Contains(text, "service=") || os.Getenv("PGSSLMODE") != "" || os.Getenv("PGSERVICE") != ""
}

// remote tells whether a host of the URL is not this machine.
func remote(c pgconn.Config) bool {
	if secure.Remote(c.Host) {
		return true
	}
	return slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return secure.Remote(f.Host) })
}
