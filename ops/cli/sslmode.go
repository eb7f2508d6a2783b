package cli

import (
	"os"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/ops/secure"
)

// verified adds sslmode=verify-full to a database URL that names no mode and leads to
// another machine: libpq's default would take any certificate, or none at all, and
// whoever is in between would read the password. An explicit mode is never changed.
func verified(text string) string {
	c, err := pgconnect.Parse(text)
	if err != nil || namesMode(text) || !remote(c.ConnConfig.Config) {
		return text
	}
	return pgconnect.With(text, "sslmode", "verify-full")
}

// mode finds the parameters that say one, and no password that looks like it.
var mode = regexp.MustCompile(`(^|[?&\s])(sslmode|service)\s*=`)

func namesMode(text string) bool {
	return mode.MatchString(text) || os.Getenv("PGSSLMODE") != "" || os.Getenv("PGSERVICE") != ""
}

// remote tells whether a host of the URL is not this machine.
func remote(c pgconn.Config) bool {
	if secure.Remote(c.Host) {
		return true
	}
	return slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return secure.Remote(f.Host) })
}
