package goose

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/jackc/pgx/v5/stdlib"
)

// DefaultSlot is the name of the replication slot, and of the publication.
const DefaultSlot = "gapless"

// MinServerVersion is the oldest PostgreSQL major that the schema works on:
// row triggers, xid8 and DETACH CONCURRENTLY are all there since 14.
const MinServerVersion = 14

var (
	// ErrWALLevel says that the server cannot decode its WAL.
	ErrWALLevel = errors.New("which decodes no WAL: set wal_level = logical and restart the server, or pass --no-slot")
	// ErrSlotMissing says that relay progress exists for a slot that does not.
	ErrSlotMissing error = &refusal{
		what:   "is gone but its relay progress is not; made again it would skip rows",
		remedy: "stop whatever writes to the outbox and run 'gapless relay': it stops too, and prints the SQL that makes the slot and writes the lost events again",
	}
	// ErrOutboxNotEmpty says that events were committed before the slot: it would
	// never see them.
	ErrOutboxNotEmpty error = &refusal{
		what:   "is not there, and the outbox holds events that it would skip if it were made now",
		remedy: "stop whatever writes to the outbox and run 'gapless relay': it stops too, and prints the SQL that makes the slot and writes the events again",
	}
	// ErrServerVersion says that the server is too old.
	ErrServerVersion = errors.New("PostgreSQL 14 or newer is needed")
)

// refusal is an error that stops before data would be lost. Refusal returns the
// way out; the command line exits 3 for it.
type refusal struct{ what, remedy string }

func (r *refusal) Error() string   { return r.what }
func (r *refusal) Refusal() string { return r.remedy }

// components lists every component in the order in which Up applies them.
var components = []string{"core", "outbox", "inbox", "shop"}

// Components returns the names that Config.Components takes, in dependency
// order.
func Components() []string { return slices.Clone(components) }

// Config says what to migrate and where.
type Config struct {
	// DatabaseURL is a libpq URL or keyword string of a role that may create
	// schemas, and roles unless NoRoles is set. It must reach the server itself:
	// behind a transaction pooler session locks do not hold.
	DatabaseURL string
	// Components to migrate; empty means all. core is always added.
	Components []string
	// NoRoles leaves out the group roles and with them every grant whose role
	// is not there. For managed databases that do not let one create roles.
	NoRoles bool
	// NoSlot leaves the replication slot to somebody else.
	NoSlot bool
	// Slot is the slot's name; empty means DefaultSlot.
	Slot string
	// Logger receives one line a migration; nil means silence.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	c.Slot = cmp.Or(c.Slot, DefaultSlot)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	if c.DatabaseURL == "" {
		errs = append(errs, errors.New("DatabaseURL: must be set"))
	}
	for _, name := range c.Components {
		if !slices.Contains(components, name) {
			errs = append(errs, fmt.Errorf("Components: %q is none of %s", name, strings.Join(components, ", ")))
		}
	}
	wanted := c.Components
	c.Components = nil
	for _, name := range components {
		if name == "core" || len(wanted) == 0 || slices.Contains(wanted, name) {
			c.Components = append(c.Components, name)
		}
	}
	return c, errors.Join(errs...)
}

// open connects with the settings that the migrations read.
func (c Config) open(ctx context.Context) (*sql.DB, error) {
	cc, err := pgx.ParseConfig(c.DatabaseURL)
	if err != nil {
		// The driver's error may hold the password.
		return nil, errors.New("DatabaseURL: no URL or keyword string that Postgres takes")
	}
	if c.NoRoles {
		cc.RuntimeParams["gapless.no_roles"] = "on"
	}
	cc.RuntimeParams["application_name"] = cmp.Or(cc.RuntimeParams["application_name"], "gapless migrate")
	db := stdlib.OpenDB(*cc, stdlib.OptionAfterConnect(pgconnect.Close))
	var version int
	if err := db.QueryRowContext(ctx, "select current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), db.Close())
	}
	if version < MinServerVersion*10000 {
		return nil, errors.Join(fmt.Errorf("%w: this is %d", ErrServerVersion, version/10000), db.Close())
	}
	return db, nil
}
