//go:build unix

package pgtest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/pgserver"
)

// SystemIdentifier is SQL for the server's identifier as text, unsigned as in the
// replication protocol's IDENTIFY_SYSTEM.
const SystemIdentifier = "(select mod(system_identifier + 18446744073709551616, 18446744073709551616)::text from pg_control_system())"

// DB is a database of one test.
type DB struct {
	Name string
	URL  string // of the superuser, who owns it

	cluster *cluster
}

// NewDB returns a database with every migration applied and without a slot. It is
// dropped after the test.
func NewDB(t testing.TB) *DB {
	t.Helper()
	c := started(t)
	c.migrated(t)
	return c.create(t, template)
}

// NewEmptyDB returns a database without any migration. It is dropped after the
// test.
func NewEmptyDB(t testing.TB) *DB {
	t.Helper()
	return started(t).create(t, "")
}

// Pool returns a pool of the superuser. It is closed after the test.
func (db *DB) Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return OpenPool(t, db.URL)
}

// LoginPool returns a pool of a login with the given role. It is closed after the
// test.
func (db *DB) LoginPool(t testing.TB, role Role) *pgxpool.Pool {
	t.Helper()
	return OpenPool(t, db.LoginURL(t, role))
}

// OpenPool connects to url. The pool is closed after the test.
func OpenPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Role is one of the group roles that the migrations make.
type Role string

// The group roles. A login of Relay has the attribute REPLICATION too, which
// membership does not give.
const (
	Owner    Role = "gapless_owner"
	App      Role = "gapless_app"
	Relay    Role = "gapless_relay"
	Consumer Role = "gapless_consumer"
	Readonly Role = "gapless_readonly"
)

var roles = []Role{Owner, App, Relay, Consumer, Readonly}

// LoginURL returns a connection string for a login whose only rights are those of
// role. It works on databases of [NewDB], and of [NewEmptyDB] once the migrations
// have made the roles.
func (db *DB) LoginURL(t testing.TB, role Role) string {
	t.Helper()
	if !slices.Contains(roles, role) {
		t.Fatalf("role %q is none of %v", role, roles)
	}
	login, err := db.cluster.login(t.Context(), role)
	if err != nil {
		t.Fatalf("create a login for %s: %v", role, err)
	}
	return db.cluster.server.UserURL(login, db.cluster.password, db.Name)
}

// Reader is the login of ReaderURL.
const Reader = "test_reader"

// ReaderURL returns a connection string for a login that is in no group and may write
// nothing: it has the attribute REPLICATION, may connect, and reads what is granted to it.
func (db *DB) ReaderURL(t testing.TB) string {
	t.Helper()
	c := db.cluster
	c.loginMu.Lock()
	defer c.loginMu.Unlock()
	if !c.logins[Reader] {
		if _, err := c.admin.Exec(t.Context(), fmt.Sprintf("create role %s login replication password '%s'", Reader, c.password)); err != nil {
			t.Fatalf("create login %s: %v", Reader, err)
		}
		c.logins[Reader] = true
	}
	return c.server.UserURL(Reader, c.password, db.Name)
}

// login makes the login of role at the first call. Logins are the server's, so
// all databases share them.
func (c *cluster) login(ctx context.Context, role Role) (string, error) {
	name := "test_" + string(role)
	c.loginMu.Lock()
	defer c.loginMu.Unlock()
	if c.logins[role] {
		return name, nil
	}
	attributes := "login"
	if role == Relay {
		attributes = "login replication"
	}
	// DDL takes no parameters; the password is base32 of ours.
	_, err := c.admin.Exec(ctx, fmt.Sprintf("create role %s %s password '%s' in role %s",
		pgx.Identifier{name}.Sanitize(), attributes, c.password, pgx.Identifier{string(role)}.Sanitize()))
	if err != nil {
		return "", err
	}
	c.logins[role] = true
	return name, nil
}

// Slot creates a logical slot of pgoutput on this database and returns its name,
// which begins with prefix and is no other test's. It is dropped after the test,
// even from under a relay that holds it.
func (db *DB) Slot(t testing.TB, prefix string) string {
	t.Helper()
	name := db.SlotName(prefix)
	conn, err := pgx.Connect(t.Context(), db.URL)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "select pg_create_logical_replication_slot($1, 'pgoutput')", name); err != nil {
		t.Fatalf("create slot %q: %v", name, err)
	}
	return name
}

// SlotName returns a name for a slot that the test makes by itself. Whatever its
// name, a slot on this database is dropped with it.
func (db *DB) SlotName(prefix string) string {
	return safeName(prefix, 20) + "_" + safeName(db.Name, 40)
}

// Server starts a server for this test alone, to be killed, restarted or filled.
// It is stopped after the test.
func Server(t testing.TB, settings map[string]string) *pgserver.Server {
	t.Helper()
	return serve(t, nil, settings)
}

// TLSServer is Server with TLS.
func TLSServer(t testing.TB, tls pgserver.TLS) *pgserver.Server {
	t.Helper()
	return serve(t, &tls, nil)
}

func serve(t testing.TB, tls *pgserver.TLS, settings map[string]string) *pgserver.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := start(ctx, tls, settings)
	if err != nil {
		t.Fatalf("start a server for the test: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop the server of the test: %v", err)
		}
	})
	return s
}

// Migrate applies every migration to the database at url, without a slot.
func Migrate(t testing.TB, url string) {
	t.Helper()
	if err := migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
}
