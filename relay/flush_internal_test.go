package relay

import (
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
)

// TestFlush: what was committed without waiting for the disk is there, whatever the login
// may do, and other streams of the database have nothing of it, if it may do that.
func TestFlush(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_writer_delay": "10s"})
	pool := pgtest.OpenPool(t, server.SuperuserURL())
	exec := func(statement string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	// of runs a query for one value.
	of := func(into any, query string, args ...any) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), query, args...).Scan(into); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	exec("create table late (n int)")
	exec("create publication debezium for all tables")
	exec("create role reader login password 'p'")
	exec("alter role reader set default_transaction_read_only = on")
	exec("create role denied login password 'p'")
	var slot string
	of(&slot, "select slot_name from pg_create_logical_replication_slot('debezium', 'pgoutput')")
	for _, c := range []struct {
		login    string
		messages int
	}{{"reader", 0}, {"denied", 1}} {
		if c.login == "denied" {
			exec("revoke execute on function lo_create(oid), lo_unlink(oid) from public")
		}
		s, err := openStore(t.Context(), Config{DatabaseURL: server.UserURL(c.login, "p", "postgres"), Slot: "s"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		isLate, committed := false, ""
		for n := 0; !isLate; n++ {
			if n == 100 {
				t.Fatal("no commit was late on the disk")
			}
			of(&committed, "with i as (insert into late values (1)) select set_config('synchronous_commit', 'off', true)")
			of(&committed, "select pg_current_wal_insert_lsn()::text")
			of(&isLate, "select pg_current_wal_flush_lsn() < $1::text::pg_lsn", committed)
		}
		if err := s.flush(t.Context()); err != nil {
			t.Fatalf("%s: %v", c.login, err)
		}
		var isThere bool
		var messages int
		of(&isThere, "select pg_current_wal_flush_lsn() >= $1::text::pg_lsn", committed)
		of(&messages, `select count(*) from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'debezium', 'messages', 'true')
			where get_byte(data, 0) = ascii('M')`, slot)
		if !isThere || messages != c.messages {
			t.Errorf("%s: on the disk %t, %d messages in the stream of others, want %d", c.login, isThere, messages, c.messages)
		}
	}
}
