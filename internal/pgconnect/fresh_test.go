//go:build unix

package pgconnect_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// copyFile puts a file in the place of another.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A pool goes on over a rotation of everything that it shows and trusts.
func TestEachConnectionHasTheSecretsOfNow(t *testing.T) {
	t.Parallel()
	authority, stranger := testkit.NewAuthority(t), testkit.NewAuthority(t)
	serverCert, serverKey := authority.Issue(time.Hour)
	server := pgtest.TLSServer(t, pgserver.TLS{Cert: serverCert, Key: serverKey, ClientCA: authority.CA})
	admin := pgtest.OpenPool(t, server.SuperuserURL())
	exec := func(statement string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("create role app login password 'yesterday'; create role other login password 'other-password'")

	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	cert, key := authority.Issue(time.Hour)
	copyFile(t, cert, at("cert"))
	copyFile(t, key, at("key"))
	copyFile(t, authority.CA, at("ca"))
	writeFile(t, at("pgpass"), "127.0.0.1:*:*:app:yesterday\n127.0.0.1:*:*:other:other-password\n")
	query := url.Values{"sslmode": {"verify-full"}, "sslcert": {at("cert")}, "sslkey": {at("key")}, "sslrootcert": {at("ca")}, "passfile": {at("pgpass")}}
	address := func(user string, port int) string {
		return fmt.Sprintf("postgres://%s@127.0.0.1:%d/postgres?%s", user, port, query.Encode())
	}
	text := address("app", server.Port())
	config, err := pgconnect.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	config.BeforeConnect = pgconnect.Fresh(func() (string, error) { return text, nil })
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	login := func() (user string, err error) {
		pool.Reset() // the next one is a new connection
		err = pool.QueryRow(t.Context(), "select session_user").Scan(&user)
		return user, err
	}
	works := func(what, want string) {
		t.Helper()
		if user, err := login(); err != nil || user != want {
			t.Fatalf("%s: %q, %v", what, user, err)
		}
	}
	fails := func(what string, is func(error) bool) {
		t.Helper()
		_, err := login()
		// In TLS 1.3 the server judges a client's certificate after the handshake: when it hangs
		// up while the client still writes, TCP may drop its last words.
		for range 20 {
			if !errors.Is(err, syscall.ECONNRESET) {
				break
			}
			_, err = login()
		}
		if err == nil || !is(err) {
			t.Fatalf("%s: %v", what, err)
		}
		for _, word := range []string{"yesterday", "today", "other-password", "PRIVATE"} {
			if strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q is in %v", what, word, err)
			}
		}
	}
	code := func(code string) func(error) bool {
		return func(err error) bool {
			pg, ok := errors.AsType[*pgconn.PgError](err)
			return ok && pg.Code == code
		}
	}
	untried := func(text string) func(error) bool {
		return func(err error) bool { return pgconn.SafeToRetry(err) && strings.Contains(err.Error(), text) }
	}

	works("as it was", "app")
	exec("alter role app password 'today'")
	fails("a password of yesterday", code("28P01"))
	writeFile(t, at("pgpass"), "127.0.0.1:*:*:app:today\n127.0.0.1:*:*:other:other-password\n")
	works("the password of today", "app")

	strange, strangeKey := stranger.Issue(time.Hour)
	copyFile(t, strange, at("cert"))
	fails("a certificate without its key", untried("private key does not match"))
	copyFile(t, strangeKey, at("key"))
	fails("a stranger's certificate", func(err error) bool { return strings.Contains(err.Error(), "unknown certificate authority") })
	cert, key = authority.Issue(time.Hour)
	copyFile(t, cert, at("cert"))
	copyFile(t, key, at("key"))
	works("a new certificate", "app")

	copyFile(t, stranger.CA, at("ca"))
	fails("another authority to trust", func(err error) bool { return errors.As(err, new(x509.UnknownAuthorityError)) })
	writeFile(t, at("ca"), "half a fi")
	fails("half an authority", untried("unable to add CA"))
	copyFile(t, authority.CA, at("ca"))
	works("the authority again", "app")

	text = address("other", server.Port())
	works("another login", "other")
	text = address("other", server.Port()+1)
	fails("another server", untried("restart to follow it"))
	text = "postgres://u:today@h:port/x"
	fails("no URL", untried("no URL"))
	text = address("app", server.Port())
	if err := os.Remove(at("key")); err != nil {
		t.Fatal(err)
	}
	fails("no key", untried(at("key")))
	copyFile(t, key, at("key"))
	works("all is back", "app")
}

// What a server shows is verified as the URL says.
func TestTLSWithPostgres(t *testing.T) {
	t.Parallel()
	authority, stranger := testkit.NewAuthority(t), testkit.NewAuthority(t)
	serverCert, serverKey := authority.Issue(time.Hour)
	server := pgtest.TLSServer(t, pgserver.TLS{Cert: serverCert, Key: serverKey, ClientCA: authority.CA})
	inClear := pgtest.Server(t, nil)
	if _, err := pgtest.OpenPool(t, server.SuperuserURL()).Exec(t.Context(), "create role app login password 'secret'"); err != nil {
		t.Fatal(err)
	}
	cert, key := authority.Issue(time.Hour)
	pair := "&sslcert=" + cert + "&sslkey=" + key
	for _, c := range []struct {
		host   string
		port   int
		query  string
		reason string // "" when it works
	}{
		{"127.0.0.1", server.Port(), "sslmode=verify-full&sslrootcert=" + authority.CA + pair, ""},
		{"127.0.0.1", server.Port(), "sslmode=verify-full&sslrootcert=" + authority.CA, "valid client certificate"},
		{"127.0.0.1", server.Port(), "sslmode=verify-full&sslrootcert=" + stranger.CA + pair, "unknown authority"},
		{"127.0.0.1", server.Port(), "sslmode=verify-full" + pair, "unknown authority"},
		{"localhost", server.Port(), "sslmode=verify-full&sslrootcert=" + authority.CA + pair, "wanted to match localhost"},
		{"localhost", server.Port(), "sslmode=verify-ca&sslrootcert=" + authority.CA + pair, ""},
		{"127.0.0.1", server.Port(), "sslmode=disable", "no pg_hba.conf entry"},
		{"127.0.0.1", inClear.Port(), "sslmode=verify-full&sslrootcert=" + authority.CA, "refused TLS"},
	} {
		conn, err := pgx.Connect(t.Context(), "postgres://app:secret@"+net.JoinHostPort(c.host, strconv.Itoa(c.port))+"/postgres?"+c.query)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		if c.reason == "" && err != nil || c.reason != "" && (err == nil || !strings.Contains(err.Error(), c.reason)) {
			t.Errorf("%s with %s: %v, want %q", c.host, c.query, err, c.reason)
		}
	}
}

func TestParseTellsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "pl4nted"
	garbage := filepath.Join(t.TempDir(), "garbage")
	writeFile(t, garbage, secret)
	for text, want := range map[string]string{
		"postgres://u:" + secret + "@h:port/x":                        "no URL",
		"postgres://u:%zz" + secret + "@h/x":                          "no URL",
		"postgres://u:p:" + secret + "@h:" + secret + "/x":            "no URL",
		"u:" + secret + "@h/x":                                        "no URL",
		"password=" + secret + " host":                                "no URL",
		"host=h password='" + secret:                                  "no URL",
		"postgres://h/x?sslpassword=" + secret + "&" + secret:         "no URL",
		"postgres://u:" + secret + "@h/x?sslrootcert=/no/such":        "/no/such: no such file",
		"postgres://u:" + secret + "@h/x?sslmode=sometimes":           "sslmode is invalid",
		"postgres://h/x?sslcert=" + garbage + "&sslkey=" + garbage:    "failed to decode sslkey",
		"postgres://u:" + secret + "@h/x?sslcert=" + garbage:          "sslkey",
		"postgres://u:" + secret + "@h/x?sslrootcert=" + garbage:      "unable to add CA",
		"postgres://u:" + secret + "@h/x?pool_max_conns=" + secret:    "no URL",
		"postgres://u:" + secret + "@h/x?connect_timeout=" + secret:   "no URL",
		"postgres://u:" + secret + "@h/x?target_session_attrs=nobody": "no URL",
	} {
		_, err := pgconnect.Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWith(t *testing.T) {
	t.Parallel()
	const value = `a'b\c d+e&f=g@h/i%j?k:l`
	for _, text := range []string{
		"postgres://u:old@h/x", "postgres://u@h:1,g:2/x", "postgresql://h", "postgres://h?", "postgres://u:o?d@h/x", "postgres://h/x?password=old",
		"postgres:///x?host=/tmp&password=old&", "host=h password=old", "host=h", "",
	} {
		before, err := pgconnect.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		after, err := pgconnect.Parse(pgconnect.With(text, "password", value))
		if err != nil {
			t.Errorf("%s becomes %s: %v", text, pgconnect.With(text, "password", value), err)
			continue
		}
		b, a := before.ConnConfig, after.ConnConfig
		if a.Password != value || a.Host != b.Host || a.Port != b.Port || a.Database != b.Database || a.User != b.User || len(a.Fallbacks) != len(b.Fallbacks) {
			t.Errorf("%s becomes %s", text, pgconnect.With(text, "password", value))
		}
	}
}
