package outbox_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/lib/pq" // a second driver of database/sql

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/outbox"
)

const stored = `SELECT coalesce(string_agg(type || ' ' || coalesce(aggregate_version::text, '-') || ' ' || coalesce(encode(payload, 'escape'), 'null') || ' ' || headers, '; ' ORDER BY id), '')
	FROM gapless.outbox`

func twoEvents() []outbox.Event {
	return []outbox.Event{
		{AggregateType: "order", AggregateID: "1", Type: "Some", Payload: []byte("x"), AggregateVersion: 3, Headers: map[string]string{"a": "b"}},
		{AggregateType: "order", AggregateID: "1", Type: "Gone"},
	}
}

const wantStored = `Some 3 x {"a": "b"}; Gone - null {}`

// Behind a pooler in transaction mode pgx runs without prepared statements and
// has to tell each argument's type from its Go type.
func TestAppendInEveryExecMode(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			config, err := pgx.ParseConfig(db.URL)
			if err != nil {
				t.Fatal(err)
			}
			config.DefaultQueryExecMode = mode
			conn, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := outbox.Append(t.Context(), tx, twoEvents()...); err != nil {
				t.Fatalf("append: %v", err)
			}
			if err := outbox.New(outbox.Config{Mode: outbox.ModeWAL}).Append(t.Context(), tx, twoEvents()...); err != nil {
				t.Fatalf("append to the WAL: %v", err)
			}
			var got string
			if err := tx.QueryRow(t.Context(), stored).Scan(&got); err != nil || got != wantStored {
				t.Errorf("stored %q (%v)\nwant   %q", got, err, wantStored)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAppendSQLWithEachDriver(t *testing.T) {
	t.Parallel()
	url := pgtest.NewDB(t).URL
	for _, driver := range []string{"pgx", "postgres"} {
		db, err := sql.Open(driver, url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := outbox.AppendSQL(t.Context(), tx, twoEvents()...); err != nil {
			t.Fatalf("%s: append: %v", driver, err)
		}
		var got string
		if err := tx.QueryRowContext(t.Context(), stored).Scan(&got); err != nil || got != wantStored {
			t.Errorf("%s: stored %q (%v)\nwant %q", driver, got, err, wantStored)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}
