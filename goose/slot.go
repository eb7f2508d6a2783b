package goose

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// CreateSlot makes the logical slot for pgoutput and reports whether it did; a
// slot that is there already is left as it is. It never makes a slot for which
// relay progress is stored: see [ErrSlotMissing].
//
// The call waits for every transaction that is open in the cluster to end, as
// pg_create_logical_replication_slot does.
func CreateSlot(ctx context.Context, db *sql.DB, name string) (bool, error) {
	var plugin, database sql.NullString
	err := db.QueryRowContext(ctx, "select plugin, database from pg_replication_slots where slot_name = $1", name).Scan(&plugin, &database)
	switch {
	case err == nil:
		var here string
		if err := db.QueryRowContext(ctx, "select current_database()").Scan(&here); err != nil {
			return false, fmt.Errorf("read database name: %w", err)
		}
		if plugin.String != "pgoutput" || database.String != here {
			return false, fmt.Errorf("slot %q is of plugin %q in database %q: choose another name with --slot", name, plugin.String, database.String)
		}
		return false, nil
	case !errors.Is(err, sql.ErrNoRows):
		return false, fmt.Errorf("look for slot %q: %w", name, err)
	}

	var progress bool
	err = db.QueryRowContext(ctx, `
		select to_regclass('gapless.relay_progress') is not null
		and (select count(*) from pg_publication where pubname = 'gapless') = 1`).Scan(&progress)
	if err != nil {
		return false, fmt.Errorf("look for relay progress: %w", err)
	}
	if progress {
		if err := db.QueryRowContext(ctx, "select exists (select from gapless.relay_progress where slot = $1)", name).Scan(&progress); err != nil {
			return false, fmt.Errorf("look for relay progress: %w", err)
		}
		if progress {
			return false, fmt.Errorf("slot %q: %w; see 'gapless relay recover'", name, ErrSlotMissing)
		}
	}
	// A transaction that has written may not create a slot: this is one
	// statement on its own.
	if _, err := db.ExecContext(ctx, "select pg_create_logical_replication_slot($1, 'pgoutput')", name); err != nil {
		return false, fmt.Errorf("create slot %q: %w", name, err)
	}
	return true, nil
}

func dropSlot(ctx context.Context, db *sql.DB, name string) error {
	var active bool
	err := db.QueryRowContext(ctx, "select active from pg_replication_slots where slot_name = $1 and database = current_database()", name).Scan(&active)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for slot %q: %w", name, err)
	}
	if active {
		return fmt.Errorf("slot %q is in use: stop the relay first", name)
	}
	if _, err := db.ExecContext(ctx, "select pg_drop_replication_slot($1)", name); err != nil {
		return fmt.Errorf("drop slot %q: %w", name, err)
	}
	return nil
}

func checkWALLevel(ctx context.Context, db *sql.DB) error {
	var level string
	if err := db.QueryRowContext(ctx, "select current_setting('wal_level')").Scan(&level); err != nil {
		return fmt.Errorf("read wal_level: %w", err)
	}
	if level != "logical" {
		return fmt.Errorf("wal_level is %q: %w", level, ErrWALLevel)
	}
	return nil
}
