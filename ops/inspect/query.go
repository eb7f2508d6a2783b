package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNotFound means that there is nothing with that id.
var ErrNotFound = errors.New("not found")

// defaultLimit of a list.
const defaultLimit = 100

// DB is what this package needs of a connection, pool or transaction.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func limit(n int) int { return cmp.Or(max(0, n), defaultLimit) }

// since is a filter's time; the zero one is before everything.
func since(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

// list collects the rows of a statement.
func list[T any](ctx context.Context, db DB, what, statement string, args pgx.StrictNamedArgs) ([]T, error) {
	rows, _ := db.Query(ctx, statement, args)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	if found == nil {
		found = []T{} // JSON: [] and not null
	}
	return found, nil
}

// one collects the only row of a statement.
func one[T any](ctx context.Context, db DB, what, statement string, args pgx.StrictNamedArgs) (T, error) {
	rows, _ := db.Query(ctx, statement, args)
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return found, fmt.Errorf("show %s %v: %w", what, args["id"], ErrNotFound)
	}
	if err != nil {
		return found, fmt.Errorf("show %s: %w", what, err)
	}
	return found, nil
}
