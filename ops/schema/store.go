package schema

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgconnect"

	"github.com/gapless/gapless/sql"
)

// store writes what was registered in one transaction. With nothing to write it
// tells whether it could: before something is registered that nobody can store.
func store(ctx context.Context, c Config, list []registered) error {
	db := c.DB
	if c.DatabaseURL != "" {
		conn, err := pgx.Connect(ctx, c.DatabaseURL)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer conn.Close(context.WithoutCancel(ctx))
		if err := pgconnect.Close(ctx, conn); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		db = conn
	}
	if db == nil {
		return nil
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql.SchemaLock); err != nil {
			return fmt.Errorf("lock stored schemas: %w", err)
		}
		for _, r := range list {
			if err := r.store(ctx, tx, c.RegistryURL); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r registered) store(ctx context.Context, tx pgx.Tx, url string) error {
	conflict := ConflictError{ID: r.id, URL: url}
	err := tx.QueryRow(ctx, sql.SchemaConflict, r.subject, r.version, r.id, r.text).
		Scan(&conflict.Subject, &conflict.Version, &conflict.StoredID, &conflict.StoredRegistry)
	if err == nil {
		return &conflict
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("compare stored schema of %s: %w", r.subject, err)
	}
	types, err := Flatten(r.file)
	if err != nil {
		return fmt.Errorf("flatten %s: %w", r.file.Path(), err)
	}
	if r.index == nil {
		r.index = []int32{0}
	}
	if _, err := tx.Exec(ctx, sql.SchemaStore, r.id, r.subject, r.version, r.message, r.index, r.text, string(types), url); err != nil {
		return fmt.Errorf("store schema of %s: %w", r.subject, err)
	}
	return nil
}
