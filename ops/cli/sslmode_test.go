package cli_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/ops/cli"
)

// A server on another machine has to show a certificate that is verified, unless the
// URL says otherwise.
func TestDatabaseURLsAreVerified(t *testing.T) {
	for _, name := range []string{"PGSSLMODE", "PGSERVICE", "PGHOST"} {
		t.Setenv(name, "")
	}
	services := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(services, []byte("[plain]\nhost=db\n[open]\nhost=db\nsslmode=require\n[near]\nhost=127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGSERVICEFILE", services)
	for text, want := range map[string]string{
		"service=plain":                              "verify-full",
		"postgres:///shop?service=plain":             "verify-full",
		"service=open":                               "require",
		"service=near":                               "",
		"host=db user=u password='a service=b'":      "verify-full",
		"host=db user=u password='a sslmode=prefer'": "verify-full",
		"host=db sslmode=''":                         "verify-full",
		"host=db sslmode=prefer":                     "verify-full",
		"host=db sslmode=allow":                      "",
		"host=db sslnegotiation=direct":              "verify-full",
		"postgres://u@db/shop?sslmode=":              "verify-full",

		"postgres://u@db/shop":                              "verify-full",
		"postgres://u:p%40ss@db:5433/shop?pool_max_conns=9": "verify-full",
		"host=db dbname=shop":                               "verify-full",
		"postgres://u@127.0.0.1,db/shop":                    "verify-full",
		"postgres://u@db-1:5432,db-2:5433/shop":             "verify-full",
		"postgres://u:sslmode@db/shop":                      "verify-full",
		"host=db password=service=":                         "verify-full",
		"host=db  sslmode = require":                        "require",
		"postgres://u@db/shop?sslmode=disable":              "",
		"postgres://u@db/shop?sslmode=require":              "require",
		"postgres://u@127.0.0.1/shop":                       "",
		"postgres://u@localhost/shop":                       "",
		"postgres://u@[::1]/shop":                           "",
		"postgres://u@/shop?host=/var/run/postgresql":       "",
		"host=/var/run/postgresql dbname=shop":              "",
	} {
		c, err := pgxpool.ParseConfig(cli.Verified(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := ""
		if tls := c.ConnConfig.TLSConfig; tls != nil {
			got = "require"
			if !tls.InsecureSkipVerify && tls.ServerName != "" {
				got = "verify-full"
			}
			for _, f := range c.ConnConfig.Fallbacks {
				if f.TLSConfig == nil {
					got = "" // it would go on in clear
				}
			}
		}
		if got != want {
			t.Errorf("%s becomes %s: %q, want %q", text, cli.Verified(text), got, want)
		}
	}
}
