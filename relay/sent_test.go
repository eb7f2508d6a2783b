package relay_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/relay/replication"
)

// sentUpTo is what a program that reads the slot as Debezium does would know after so
// many changes: the end of the last commit, and the place of the last change.
func (s *setup) sentUpTo(t *testing.T, changes int) relay.Sent {
	t.Helper()
	cfg, err := pgconn.ParseConfig(s.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := replication.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if err := conn.Start(t.Context(), replication.Options{Slot: s.slot, Publication: "gapless"}); err != nil {
		t.Fatal(err)
	}
	var sent relay.Sent
	var m pgoutput.Message
	var xid uint32
	for deadline := time.Now().Add(patience); changes > 0; {
		f, ok, err := conn.Next()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d changes have not come: %v", changes, err)
		}
		if !ok {
			if err := conn.Fill(100 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if f.Data == nil {
			continue
		}
		if err := pgoutput.Decode(f.Data, &m); err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Kind == pgoutput.KindBegin:
			xid = m.Begin.XID
		case m.Kind == pgoutput.KindCommit:
			sent.Commit = core.LSN(m.Commit.EndLSN)
		case m.Kind.IsChange():
			sent.Row, sent.XID = f.Start, xid
			changes--
		}
	}
	return sent
}

func (s *setup) takingOver(sink relay.Sink, sent relay.Sent) relay.Config {
	config := s.config(sink)
	config.TakeOver = func(context.Context) (relay.Sent, error) { return sent, nil }
	return config
}

// countFrom returns n values, from first on.
func countFrom(first, n int) []string {
	var v []string
	for i := range n {
		v = append(v, strconv.Itoa(first+i))
	}
	return v
}

// However far another program has got in a stream of transactions, the relay goes on
// with the very next row.
func TestTakesOverWhereAnotherProgramWas(t *testing.T) {
	t.Parallel()
	const rows, each = 12, 3
	for done := 1; done <= rows; done++ {
		t.Run(strconv.Itoa(done), func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			for i := 1; i <= rows; i += each {
				s.append(t, "k", countFrom(i, each)...)
			}
			var sink memory
			r := run(t, s.takingOver(&sink, s.sentUpTo(t, done)))
			rest := countFrom(done+1, rows-done)
			want(t, &sink, rest...)
			s.append(t, "k", "after")
			want(t, &sink, append(rest, "after")...)
			s.stored(t, r, 1)
			r.stop()

			// The record is the relay's own now.
			s.append(t, "k", "again")
			run(t, s.takingOver(&sink, relay.Sent{Commit: 1, Row: 1}))
			want(t, &sink, append(rest, "after", "again")...)
		})
	}
}

// A transaction that began first and commits last has its rows before the end of the
// others: what its LSNs are says nothing of how far it was sent.
func TestTakesOverAmongTransactionsThatOverlap(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	const insert = "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', convert_to($1, 'UTF8'))"
	late, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"l1", "l2", "l3"} {
		if _, err := late.Exec(t.Context(), insert, v); err != nil {
			t.Fatal(err)
		}
	}
	s.append(t, "k", "1", "2")
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := []string{"1", "2", "l1", "l2", "l3"}
	sent := s.sentUpTo(t, 3)
	if sent.Row >= sent.Commit {
		t.Fatalf("%+v: the transactions do not overlap", sent)
	}
	var sink memory
	run(t, s.takingOver(&sink, sent))
	want(t, &sink, all[3:]...)
}

// The rows of one COPY have one LSN: how many of them were sent cannot be known, so
// they come again and none is lost.
func TestTakesOverInACopy(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table copied (id text, aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "alter publication gapless add table copied")
	s.exec(t, "insert into copied values ('a', 'order', 'k', 'T', 'before')")
	var rows [][]any
	for _, v := range countFrom(1, 5) {
		rows = append(rows, []any{v, "order", "k", "T", v})
	}
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "insert into copied values ('b', 'order', 'k', 'T', 'first')"); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.CopyFrom(t.Context(), pgx.Identifier{"copied"}, []string{"id", "aggregatetype", "aggregateid", "type", "payload"}, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sink memory
	run(t, s.takingOver(&sink, s.sentUpTo(t, 4)))
	want(t, &sink, countFrom(1, 5)...)
}

// What is not sure is not believed.
func TestTakingOverIsRefused(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.append(t, "k", countFrom(1, 4)...)
	s.append(t, "k", "5")
	sent := s.sentUpTo(t, 5)
	for what, c := range map[string]struct {
		sent relay.Sent
		slot string
	}{
		"is ahead of the server's WAL":     {relay.Sent{Commit: sent.Commit, Row: sent.Row + 1<<40, XID: sent.XID}, s.slot},
		"ahead of the position to take ov": {relay.Sent{Commit: 1}, s.slot},
		"there is nothing to take over":    {sent, s.db.SlotName("absent")},
		"is the end of nothing that slot":  {relay.Sent{Commit: sent.Commit - 8}, s.slot},
	} {
		var sink memory
		config := s.takingOver(&sink, c.sent)
		config.Slot = c.slot
		refusal(t, run(t, config).ended(), what)
		if got := sink.values(); len(got) > 0 {
			t.Errorf("%s: sent %q", what, got)
		}
	}

	// A transaction of another id is not the one that was half sent.
	sent.XID++
	var sink memory
	run(t, s.takingOver(&sink, sent))
	want(t, &sink, "5")
	if !slices.Equal(sink.values(), []string{"5"}) {
		t.Error("more came")
	}
}
