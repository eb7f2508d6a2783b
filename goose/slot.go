package goose

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// CreateSlot makes the logical slot for pgoutput and reports whether it did; a
// slot that is there already is left as it is. It never makes a slot for which
// relay progress is stored: see [ErrSlotMissing]. Nor does it leave one that
// would skip events: see [ErrOutboxNotEmpty].
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

	if err := checkUnused(ctx, db, name); err != nil {
		return false, err
	}
	// A transaction that has written may not create a slot: this is one
	// statement on its own.
	if _, err := db.ExecContext(ctx, "select pg_create_logical_replication_slot($1, 'pgoutput')", name); err != nil {
		return false, fmt.Errorf("create slot %q: %w", name, err)
	}
	// What was committed between the check and the slot's first position is
	// visible now, and the slot will never send it.
	if err := checkUnused(ctx, db, name); err != nil {
		return false, errors.Join(err, dropSlot(context.WithoutCancel(ctx), db, name))
	}
	return true, nil
}

// checkUnused refuses where a new slot would skip rows.
func checkUnused(ctx context.Context, db *sql.DB, slot string) error {
	here, err := hasTable(ctx, db, "gapless.outbox")
	if err != nil || !here {
		return err
	}
	var progress, rows bool
	err = db.QueryRowContext(ctx, `
		select exists (select from gapless.relay_progress where slot = $1),
		       exists (select from gapless.outbox)`, slot).Scan(&progress, &rows)
	switch {
	case err != nil:
		return fmt.Errorf("look for relay progress: %w", err)
	case progress:
		return fmt.Errorf("slot %q %w", slot, ErrSlotMissing)
	case rows:
		return fmt.Errorf("slot %q %w", slot, ErrOutboxNotEmpty)
	}
	return nil
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

// refusePublication: one of the name that was made by somebody else would let the migration
// fail half way, and a schema that is half made keeps a relay from its state in Kafka.
func refusePublication(ctx context.Context, db *sql.DB) error {
	made, err := hasTable(ctx, db, "gapless.goose_core")
	if err != nil || made {
		return err
	}
	var there bool
	if err := db.QueryRowContext(ctx, "select exists (select from pg_publication where pubname = 'gapless')").Scan(&there); err != nil {
		return fmt.Errorf("look for publications: %w", err)
	}
	if there {
		return errors.New(`publication "gapless" was made by somebody else: a relay that uses it and keeps its state in Kafka needs no schema, so leave migrate out; else rename it, and name it to the relay with --publication`)
	}
	return nil
}

// refuseRunning: a relay would go on without its position and its parked rows.
func refuseRunning(ctx context.Context, db *sql.DB) error {
	made, err := hasTable(ctx, db, "gapless.relay_progress")
	if err != nil || !made {
		return err
	}
	var slot string
	err = db.QueryRowContext(ctx, `select s.slot_name
		from gapless.relay_progress as p
		join pg_replication_slots as s on s.slot_name = p.slot and s.database = current_database()
		where s.active
		order by 1
		limit 1`).Scan(&slot)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("look for relays: %w", err)
	}
	return fmt.Errorf("slot %q is in use: stop the relay first", slot)
}

func checkWALLevel(ctx context.Context, db *sql.DB) error {
	var level string
	if err := db.QueryRowContext(ctx, "select current_setting('wal_level')").Scan(&level); err != nil {
		return fmt.Errorf("read wal_level: %w", err)
	}
	if level != "logical" {
		return fmt.Errorf("wal_level is %q, %w", level, ErrWALLevel)
	}
	return nil
}
