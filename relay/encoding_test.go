package relay_test

import (
	"net/url"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
)

// A database in another encoding: records are in UTF-8, as Debezium's are, and so is what
// is parked.
func TestDatabaseInAnotherEncoding(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	whole := &setup{pool: pgtest.OpenPool(t, server.SuperuserURL())}
	whole.exec(t, `create database latin encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0`)
	u, err := url.Parse(server.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/latin"
	pgtest.Migrate(t, u.String())
	query := u.Query()
	query.Set("client_encoding", "UTF8")
	u.RawQuery = query.Encode()
	s := &setup{db: &pgtest.DB{URL: u.String()}, pool: pgtest.OpenPool(t, u.String()), slot: "gapless"}
	query.Del("client_encoding")
	u.RawQuery = query.Encode()
	s.exec(t, "select pg_create_logical_replication_slot('gapless', 'pgoutput')")
	sink := memory{refuse: poison}
	cfg := s.config(&sink)
	cfg.DatabaseURL = u.String()
	r := run(t, cfg)
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, headers, payload)
		values ('order', 'café', 'T', '{"who": "brûlée"}', '1'), ('order', 'crème', 'T', '{}', 'poison')`)
	s.stored(t, r, 2)
	if got := sink.records()[0]; got.key != "café" || got.header("who") != "brûlée" {
		t.Errorf("key %q, header %q", got.key, got.header("who"))
	}
	wantParked(t, s, "parked crème poison too_large")
}
