package goose_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// stream reads from a slot, as a relay does, until release is called.
func stream(t testing.TB, db *pgtest.DB, slot string) (release func()) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), db.URL+"&replication=database")
	if err != nil {
		t.Fatal(err)
	}
	start := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names 'gapless')", slot)
	conn.Frontend().SendQuery(&pgproto3.Query{String: start})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	pool := db.Pool(t)
	testkit.Eventually(t, 10*time.Second, func() error {
		if !value[bool](t, pool, "select active from pg_replication_slots where slot_name = $1", slot) {
			return fmt.Errorf("slot %s is not active", slot)
		}
		return nil
	})
	return func() { conn.Close(t.Context()) }
}

// waitsForTransaction returns once some session of db waits for another's
// transaction to end.
func waitsForTransaction(t testing.TB, db *pgtest.DB) {
	t.Helper()
	pool := db.Pool(t)
	testkit.Eventually(t, 20*time.Second, func() error {
		if value[int](t, pool, "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'transactionid'") == 0 {
			return errors.New("nobody waits")
		}
		return nil
	})
}
