package cli

import (
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/ops/secure"
)

// verified adds sslmode=verify-full to a database URL that leads to another machine and
// whose mode is prefer, as it is where none is named: it would take any certificate, or
// none at all, and whoever is in between would read the password. Any other mode, be it
// of the URL, of PGSSLMODE or of a service file, stands.
func verified(text string) string {
	// Direct negotiation would make require of prefer.
	c, err := pgconnect.Parse(pgconnect.With(text, "sslnegotiation", "postgres"))
	if err != nil || !prefers(&c.ConnConfig.Config) || !remote(c.ConnConfig.Config) {
		return text
	}
	return pgconnect.With(text, "sslmode", "verify-full")
}

// prefers tells whether a host would be asked without TLS after it was with it. The driver
// keeps nothing of the mode but the order in which it tries.
func prefers(c *pgconn.Config) bool {
	before := pgconn.FallbackConfig{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}
	for _, next := range c.Fallbacks {
		if before.TLSConfig != nil && next.TLSConfig == nil && before.Host == next.Host && before.Port == next.Port {
			return true
		}
		before = *next
	}
	return false
}

// remote tells whether a host of the URL is not this machine.
func remote(c pgconn.Config) bool {
	if secure.Remote(c.Host) {
		return true
	}
	return slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return secure.Remote(f.Host) })
}
