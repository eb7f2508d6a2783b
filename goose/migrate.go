package goose

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	upstream "github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the migration files of one component, for those who run
// them with a tool of their own. The file names are goose's.
func Migrations(component string) (fs.FS, error) {
	return fs.Sub(migrations, "migrations/"+component)
}

// Status is the state of one migration.
type Status struct {
	Component string    `json:"component"`
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	Applied   bool      `json:"applied"`
	AppliedAt time.Time `json:"applied_at,omitzero"`
}

// Up applies what is missing of the configured components, then makes the slot
// unless NoSlot is set. It blocks until done and returns the migrations that it
// applied.
//
// It returns [ErrServerVersion], [ErrWALLevel], [ErrSlotMissing] and
// [ErrOutboxNotEmpty] wrapped.
// When the slot cannot be made the schema stays, and a second Up goes on there.
func Up(ctx context.Context, c Config) ([]Status, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	db, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if !c.NoSlot {
		if err := checkWALLevel(ctx, db); err != nil {
			return nil, err
		}
	}
	if err := refusePublication(ctx, db); err != nil {
		return nil, err
	}
	if err := createSchema(ctx, db); err != nil {
		return nil, err
	}

	var done []Status
	for _, component := range c.Components {
		p, err := provider(db, component)
		if err != nil {
			return done, err
		}
		results, err := p.Up(ctx)
		for _, r := range results {
			done = append(done, Status{Component: component, Version: r.Source.Version, Name: r.Source.Path, Applied: true, AppliedAt: time.Now()})
			c.Logger.Info("migrated", "component", component, "migration", r.Source.Path, "took", r.Duration)
		}
		if err != nil {
			return done, fmt.Errorf("migrate %s: %w", component, err)
		}
	}
	if c.NoSlot {
		return done, nil
	}
	made, err := CreateSlot(ctx, db, c.Slot)
	if err != nil {
		return done, err
	}
	if made {
		c.Logger.Info("slot created", "slot", c.Slot)
	}
	return done, nil
}

// Down takes back every migration of the configured components, newest
// component first. Without NoSlot it drops the slot first, because a slot
// without its publication is wedged for ever. It refuses while a relay holds that one, or
// another of which the outbox's tables have the position.
//
// All data in the tables is lost.
func Down(ctx context.Context, c Config) error {
	all := len(c.Components) == 0
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if slices.Contains(c.Components, "outbox") {
		if err := refuseRunning(ctx, db); err != nil {
			return err
		}
	}
	if !c.NoSlot && all {
		if err := dropSlot(ctx, db, c.Slot); err != nil {
			return err
		}
	}
	for i := len(c.Components) - 1; i >= 0; i-- {
		component := c.Components[i]
		if component == "core" && !all {
			continue // others may stand on it
		}
		applied, err := hasTable(ctx, db, "gapless.goose_"+component)
		if err != nil {
			return err
		}
		if !applied {
			continue
		}
		p, err := provider(db, component)
		if err != nil {
			return err
		}
		if _, err := p.DownTo(ctx, 0); err != nil {
			return fmt.Errorf("take back %s: %w", component, err)
		}
		if _, err := db.ExecContext(ctx, "drop table gapless.goose_"+component); err != nil {
			return fmt.Errorf("drop version table of %s: %w", component, err)
		}
		c.Logger.Info("taken back", "component", component)
	}
	if all {
		if _, err := db.ExecContext(ctx, "drop schema if exists gapless"); err != nil {
			return fmt.Errorf("drop schema gapless: %w", err)
		}
	}
	return nil
}

// List returns every migration of the configured components and whether it is
// applied. It changes nothing.
func List(ctx context.Context, c Config) ([]Status, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	db, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var list []Status
	for _, component := range c.Components {
		known, err := hasTable(ctx, db, "gapless.goose_"+component)
		if err != nil {
			return nil, err
		}
		sources, err := fs.Glob(migrations, "migrations/"+component+"/*.sql")
		if err != nil {
			return nil, fmt.Errorf("list migrations of %s: %w", component, err)
		}
		for _, path := range sources {
			s := Status{Component: component, Name: path[len("migrations/"+component+"/"):]}
			if s.Version, err = upstream.NumericComponent(s.Name); err != nil {
				return nil, fmt.Errorf("read version of %s: %w", s.Name, err)
			}
			if known {
				err := db.QueryRowContext(ctx, "select tstamp from gapless.goose_"+component+" where version_id = $1 and is_applied", s.Version).Scan(&s.AppliedAt)
				if err != nil && !errors.Is(err, sql.ErrNoRows) {
					return nil, fmt.Errorf("read version table of %s: %w", component, err)
				}
				s.Applied = err == nil
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// createSchema makes the schema that the version tables live in. A role that may
// not create schemas passes when somebody has made it; IF NOT EXISTS alone would
// refuse that role first, and fail when two try at once.
func createSchema(ctx context.Context, db *sql.DB) error {
	const exists = "select to_regnamespace('gapless') is not null"
	var found bool
	if err := db.QueryRowContext(ctx, exists).Scan(&found); err != nil {
		return fmt.Errorf("look for schema gapless: %w", err)
	}
	if found {
		return trusted(ctx, db)
	}
	_, err := db.ExecContext(ctx, "create schema if not exists gapless")
	if err == nil {
		return trusted(ctx, db)
	}
	if db.QueryRowContext(ctx, exists).Scan(&found) == nil && found {
		return trusted(ctx, db) // made by another Up in this very moment
	}
	return fmt.Errorf("create schema gapless: %w", err)
}

//go:embed trust.sql
var trustSQL string

// ErrUntrusted is the error for a schema gapless in which somebody else may have put functions,
// or may yet: they would run as the role that migrates.
var ErrUntrusted = errors.New("schema gapless is not trusted")

func trusted(ctx context.Context, db *sql.DB) error {
	var why *string
	if err := db.QueryRowContext(ctx, trustSQL).Scan(&why); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("look at schema gapless: %w", err)
	}
	if why != nil {
		return fmt.Errorf("%w: %s", ErrUntrusted, *why)
	}
	return nil
}

func provider(db *sql.DB, component string) (*upstream.Provider, error) {
	files, err := Migrations(component)
	if err != nil {
		return nil, fmt.Errorf("read migrations of %s: %w", component, err)
	}
	store, err := database.NewStore(database.DialectPostgres, "gapless.goose_"+component)
	if err != nil {
		return nil, fmt.Errorf("version store of %s: %w", component, err)
	}
	// Asked once a second for five minutes: the other Up may wait for a slot.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, fmt.Errorf("session lock: %w", err)
	}
	p, err := upstream.NewProvider(database.DialectCustom, db, files,
		upstream.WithStore(store), upstream.WithSessionLocker(locker), upstream.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("migrations of %s: %w", component, err)
	}
	return p, nil
}

func hasTable(ctx context.Context, db *sql.DB, name string) (bool, error) {
	var found bool
	if err := db.QueryRowContext(ctx, "select to_regclass($1) is not null", name).Scan(&found); err != nil {
		return false, fmt.Errorf("look for %s: %w", name, err)
	}
	return found, nil
}
