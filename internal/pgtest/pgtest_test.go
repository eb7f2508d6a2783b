//go:build unix

package pgtest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestDatabasesDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	a, b := pgtest.NewDB(t), pgtest.NewDB(t)
	if a.Name == b.Name {
		t.Fatalf("two databases are called %s", a.Name)
	}
	if _, err := a.Pool(t).Exec(t.Context(), "create table mine (n int)"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := b.Pool(t).QueryRow(t.Context(), "select count(*) from pg_class where relname = 'mine'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Error("a table of one test is in another test's database")
	}
}

func TestNewDBIsMigrated(t *testing.T) {
	t.Parallel()
	var outbox *string
	if err := pgtest.NewDB(t).Pool(t).QueryRow(t.Context(), "select to_regclass('gapless.outbox')::text").Scan(&outbox); err != nil {
		t.Fatal(err)
	}
	if outbox == nil {
		t.Error("gapless.outbox is missing")
	}
}

func TestNewEmptyDBIsEmpty(t *testing.T) {
	t.Parallel()
	var n int
	if err := pgtest.NewEmptyDB(t).Pool(t).QueryRow(t.Context(), "select count(*) from pg_namespace where nspname = 'gapless'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Error("an empty database has the schema gapless")
	}
}

//nolint:tparallel // what comes after the subtest looks at what it left
func TestDatabaseIsDroppedUnderOpenConnectionsAndActiveSlots(t *testing.T) {
	t.Parallel()
	var name, slot string
	t.Run("uses", func(t *testing.T) {
		db := pgtest.NewDB(t)
		name, slot = db.Name, db.Slot(t, "held")
		cfg, err := pgconn.ParseConfig(db.URL)
		if err != nil {
			t.Fatal(err)
		}
		cfg.RuntimeParams["replication"] = "database"
		walsender, err := pgconn.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { walsender.Close(t.Context()) })
		walsender.Frontend().Send(startReplication(slot))
		if err := walsender.Frontend().Flush(); err != nil {
			t.Fatal(err)
		}
		pool := db.Pool(t)
		testkit.Eventually(t, 10*time.Second, func() error {
			var active bool
			if err := pool.QueryRow(t.Context(), "select active from pg_replication_slots where slot_name = $1", slot).Scan(&active); err != nil {
				return err
			}
			if !active {
				return errors.New("slot is not active")
			}
			return nil
		})
	})
	var databases, slots int
	if err := pgtest.NewEmptyDB(t).Pool(t).QueryRow(t.Context(), `
		select (select count(*) from pg_database where datname = $1),
			(select count(*) from pg_replication_slots where slot_name = $2)`, name, slot).Scan(&databases, &slots); err != nil {
		t.Fatal(err)
	}
	if databases != 0 || slots != 0 {
		t.Errorf("after the test: %d databases, %d slots, want none", databases, slots)
	}
}

func TestLoginsHaveTheRightsOfTheirRoleAlone(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	for _, role := range []pgtest.Role{pgtest.Owner, pgtest.App, pgtest.Relay, pgtest.Consumer, pgtest.Readonly} {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			conn, err := pgx.Connect(t.Context(), db.LoginURL(t, role))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			var super, replication, member bool
			if err := conn.QueryRow(t.Context(), `
				select rolsuper, rolreplication, pg_has_role(current_user, $1, 'member')
				from pg_roles where rolname = current_user`, string(role)).Scan(&super, &replication, &member); err != nil {
				t.Fatal(err)
			}
			if super || !member || replication != (role == pgtest.Relay) {
				t.Errorf("superuser %t, replication %t, member %t", super, replication, member)
			}
			_, err = conn.Exec(t.Context(), "create role intruder")
			var pgErr *pgconn.PgError
			if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
				t.Errorf("create role: %v, want insufficient_privilege", err)
			}
		})
	}
}

func TestSlotNamesAreValidAndUnique(t *testing.T) {
	t.Parallel()
	a, b := pgtest.NewEmptyDB(t), pgtest.NewEmptyDB(t)
	one, two := a.Slot(t, "Größe/with odd-name"), b.Slot(t, "Größe/with odd-name")
	if one == two || len(one) > 63 || !strings.HasPrefix(one, "gr") {
		t.Errorf("slots %q and %q", one, two)
	}
}

func TestServerSurvivesAKill(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t, map[string]string{"wal_sender_timeout": "1s"})
	pgtest.Migrate(t, s.SuperuserURL())
	if err := s.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	var timeout string
	if err := pgtest.OpenPool(t, s.SuperuserURL()).QueryRow(t.Context(), "show wal_sender_timeout").Scan(&timeout); err != nil {
		t.Fatal(err)
	}
	if timeout != "1s" {
		t.Errorf("wal_sender_timeout %s, want 1s", timeout)
	}
}

func startReplication(slot string) *pgproto3.Query {
	return &pgproto3.Query{String: fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names 'none')", slot)}
}

func BenchmarkNewDB(b *testing.B) {
	pgtest.NewDB(b)
	for b.Loop() {
		pgtest.NewDB(b)
	}
}
