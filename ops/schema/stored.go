package schema

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// Stored is a version that gapless.schema_version holds.
type Stored struct {
	SchemaID   int    `db:"schema_id"`
	Subject    string `db:"subject"`
	Version    int    `db:"version"`
	Definition string `db:"definition"`
}

// Querier reads; a pool, a connection or a transaction of pgx.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// ReadStored lists the stored versions in the order of their ids.
func ReadStored(ctx context.Context, db Querier) ([]Stored, error) {
	rows, _ := db.Query(ctx, sql.SchemaStored)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Stored])
	if err != nil {
		return nil, fmt.Errorf("read stored schemas: %w", err)
	}
	return list, nil
}

// Astray asks the registry of c for each of stored, and returns those that it does
// not have, or has under another id: events written with such an id are read by
// nobody, or by the wrong schema. Without any it still asks, so that a registry that
// is away is an error.
func Astray(ctx context.Context, c Config, stored []Stored) ([]Stored, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if c.RegistryURL == "" {
		return nil, errors.New("RegistryURL: must be set")
	}
	cl, closeIdle, err := c.client()
	if err != nil {
		return nil, err
	}
	defer closeIdle()
	if len(stored) == 0 {
		if _, err := cl.Subjects(ctx); err != nil {
			return nil, fmt.Errorf("list subjects: %w", err)
		}
	}
	var astray []Stored
	for _, s := range stored {
		there, err := cl.SchemaByVersion(ctx, s.Subject, s.Version)
		switch {
		case notFound(err):
			astray = append(astray, s)
		case err != nil:
			return nil, fmt.Errorf("look up version %d of subject %s: %w", s.Version, s.Subject, err)
		case there.ID != s.SchemaID:
			astray = append(astray, s)
		}
	}
	return astray, nil
}
