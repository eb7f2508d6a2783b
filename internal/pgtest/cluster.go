//go:build unix

package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgserver"
)

const (
	binVariable = "GAPLESS_TEST_POSTGRES"
	template    = "gapless_template"

	// startTimeout covers a first fetch of the binaries.
	startTimeout = 3 * time.Minute
	// dropTimeout bounds a clean-up, which must not follow the test's own context:
	// that one is cancelled before.
	dropTimeout = 30 * time.Second
)

// cluster is the server that the tests of one binary share.
type cluster struct {
	options options

	once   sync.Once
	err    error
	server *pgserver.Server
	admin  *pgxpool.Pool

	templateOnce sync.Once
	templateErr  error

	loginMu  sync.Mutex
	logins   map[Role]bool
	password string

	databases atomic.Int64
}

// shared is a global because TestMain and the tests have nothing else in common.
var shared = &cluster{
	options:  options{settings: map[string]string{}},
	logins:   map[Role]bool{},
	password: rand.Text(),
}

// testSettings suit many small databases that come and go.
func testSettings() map[string]string {
	return map[string]string{
		"max_replication_slots":     "100",
		"max_wal_senders":           "100",
		"max_connections":           "300",
		"max_prepared_transactions": "20",
		// Cloning ends in a checkpoint, which walks all of the buffers.
		"shared_buffers": "32MB",
		// The data may be in memory, and a slot keeps its WAL anyway.
		"max_wal_size": "128MB",
		"min_wal_size": "32MB",
		// The worker that would come to every clone once a minute.
		"autovacuum": "off",
	}
}

func start(ctx context.Context, tls *pgserver.TLS, settings ...map[string]string) (*pgserver.Server, error) {
	all := testSettings()
	for _, s := range settings {
		for name, value := range s {
			all[name] = value
		}
	}
	return pgserver.Start(ctx, pgserver.Config{
		BinDir:    os.Getenv(binVariable),
		FromStock: true,
		Settings:  all,
		TLS:       tls,
		TempDir:   memoryDir(),
		StopGrace: 5 * time.Second,
	})
}

// started returns the cluster, running.
func started(t testing.TB) *cluster {
	t.Helper()
	c := shared
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		c.err = c.start(ctx)
	})
	if c.err != nil {
		t.Fatalf("start a server for the tests: %v", c.err)
	}
	return c
}

func (c *cluster) start(ctx context.Context) error {
	server, err := start(ctx, nil, c.options.settings)
	if err != nil {
		return err
	}
	c.server = server
	cfg, err := pgxpool.ParseConfig(server.SuperuserURL())
	if err != nil {
		return fmt.Errorf("parse URL: %w", err)
	}
	cfg.MaxConns = 4
	if c.admin, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

func (c *cluster) stop(ctx context.Context) error {
	if c.admin != nil {
		c.admin.Close()
	}
	if c.server == nil {
		return nil
	}
	return c.server.Stop(ctx)
}

// migrated makes the template at the first call.
func (c *cluster) migrated(t testing.TB) {
	t.Helper()
	c.templateOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c.templateErr = c.makeTemplate(ctx)
	})
	if c.templateErr != nil {
		t.Fatalf("make the template database: %v", c.templateErr)
	}
}

func (c *cluster) makeTemplate(ctx context.Context) error {
	if _, err := c.admin.Exec(ctx, "create database "+template); err != nil {
		return fmt.Errorf("create template: %w", err)
	}
	if err := migrate(ctx, c.server.URL(template)); err != nil {
		return err
	}
	// A template with a connection cannot be cloned.
	if _, err := c.admin.Exec(ctx, "alter database "+template+" with allow_connections false"); err != nil {
		return fmt.Errorf("close template: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, databaseURL string) error {
	if _, err := goose.Up(ctx, goose.Config{DatabaseURL: databaseURL, NoSlot: true}); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// create makes a database with a name of its own. from is empty for an empty one.
func (c *cluster) create(t testing.TB, from string) *DB {
	t.Helper()
	name := fmt.Sprintf("t%d_%s", c.databases.Add(1), safeName(t.Name(), 40))
	statement := "create database " + pgx.Identifier{name}.Sanitize()
	if from != "" {
		statement += " template " + from
		if c.server.Major() >= 15 {
			// The default since 15 writes the whole clone to the WAL, where every
			// walsender of the server would have to read it.
			statement += " strategy file_copy"
		}
	}
	if _, err := c.admin.Exec(t.Context(), statement); err != nil {
		t.Fatalf("create database %s: %v", name, err)
	}
	db := &DB{Name: name, URL: c.server.URL(name), cluster: c}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
		defer cancel()
		if err := c.drop(ctx, name); err != nil {
			t.Errorf("drop database %s: %v", name, err)
		}
	})
	return db
}

// drop removes the database's slots first: an active one would keep it.
func (c *cluster) drop(ctx context.Context, name string) error {
	rows, err := c.admin.Query(ctx, "select slot_name from pg_replication_slots where database = $1", name)
	if err != nil {
		return fmt.Errorf("list slots: %w", err)
	}
	slots, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list slots: %w", err)
	}
	var errs []error
	for _, s := range slots {
		errs = append(errs, c.dropSlot(ctx, s))
	}
	_, err = c.admin.Exec(ctx, "drop database if exists "+pgx.Identifier{name}.Sanitize()+" with (force)")
	return errors.Join(append(errs, err)...)
}

// dropSlot ends the slot's walsender until the slot can be dropped: a relay that
// reconnects may take it again in between.
func (c *cluster) dropSlot(ctx context.Context, slot string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := c.admin.Exec(ctx, `
			select pg_terminate_backend(active_pid) from pg_replication_slots
			where slot_name = $1 and active_pid is not null`, slot)
		if err != nil {
			return fmt.Errorf("end walsender of slot %s: %w", slot, err)
		}
		_, err = c.admin.Exec(ctx, `
			select pg_drop_replication_slot(slot_name) from pg_replication_slots
			where slot_name = $1`, slot)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drop slot %s: %w", slot, err)
		case <-tick.C:
		}
	}
}

// safeName keeps what both a database and a slot may be called.
func safeName(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(s))
	return s[:min(len(s), limit)]
}
