package relay_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/kafkastate"
)

func (s *setup) parked(t testing.TB) []string {
	t.Helper()
	if s.kafka != nil {
		return s.parkedInKafka(t)
	}
	rows, err := s.pool.Query(t.Context(), `
		select status || ' ' || row_key || ' ' || coalesce(convert_from(record_value, 'UTF8'), '') || ' ' || reason
		from gapless.parked where slot = $1 order by commit_lsn, commit_index`, s.slot)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantParked(t testing.TB, s *setup, rows ...string) {
	t.Helper()
	if s.kafka != nil { // of what is settled it has no bytes any more
		rows = slices.DeleteFunc(rows, func(r string) bool {
			return strings.HasPrefix(r, kafkastate.Redriven) || strings.HasPrefix(r, kafkastate.Discarded)
		})
	}
	testkit.Eventually(t, patience, func() error {
		if got := s.parked(t); !slices.Equal(got, rows) {
			return fmt.Errorf("parked %q, want %q", got, rows)
		}
		return nil
	})
}

var errTooLarge = &format.Fault{Reason: format.TooLarge, Detail: "for the test"}

func poison(v sent) error {
	if v.value == "poison" {
		return errTooLarge
	}
	return nil
}

// A row that cannot be sent blocks its key and nothing else, through restarts.
func TestPoisonBlocksItsKeyOnly(t *testing.T) {
	t.Parallel()
	inBoth(t, poisonBlocksItsKeyOnly)
}

func poisonBlocksItsKeyOnly(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	s.append(t, "a", "a1", "poison", "a2")
	s.append(t, "b", "b1")
	want(t, &sink, "a1", "b1")
	wantParked(t, s, "parked a poison too_large", "waiting a a2 waiting")
	s.stored(t, r, 4)
	r.stop()
	if st := r.Status(); st.Parked != 1 || st.Events != 4 {
		t.Errorf("%+v", st)
	}
	r = run(t, s.config(&sink))
	s.append(t, "a", "a3")
	s.append(t, "b", "b2")
	want(t, &sink, "a1", "b1", "b2")
	wantParked(t, s, "parked a poison too_large", "waiting a a2 waiting", "waiting a a3 waiting")
	r.stop()
}

// Keys are as long as people make them, and wait through restarts all the same, until they
// are let go.
func TestLongKeyWaits(t *testing.T) {
	t.Parallel()
	inBoth(t, longKeyWaits)
}

func longKeyWaits(t *testing.T, s *setup) {
	t.Helper()
	long := uuid.NewString() + uuid.NewString()
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	s.append(t, long, "poison", "1")
	s.append(t, "b", "b1")
	want(t, &sink, "b1")
	s.stored(t, r, 3)
	r.stop()
	r = run(t, s.config(&sink))
	s.append(t, long, "2")
	s.append(t, "b", "b2")
	want(t, &sink, "b1", "b2")
	wantParked(t, s, "parked "+long+" poison too_large", "waiting "+long+" 1 waiting", "waiting "+long+" 2 waiting")
	accepting(&sink)
	s.finished(t, s.request(t, "redrive"))
	want(t, &sink, "b1", "b2", "poison", "1", "2")
	s.append(t, long, "3")
	want(t, &sink, "b1", "b2", "poison", "1", "2", "3")
	r.stop()
}

// A row that the far side refuses after it was sent: the stream starts again
// and parks it before anything behind it goes out.
func TestPoisonFoundLate(t *testing.T) {
	t.Parallel()
	inBoth(t, poisonFoundLate)
}

func poisonFoundLate(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{fail: poison}
	r := run(t, s.config(&sink))
	s.append(t, "a", "a1", "poison", "a2")
	wantParked(t, s, "parked a poison too_large", "waiting a a2 waiting")
	s.append(t, "b", "b1")
	testkit.Eventually(t, patience, func() error {
		if got := sink.values(); got[len(got)-1] != "b1" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	s.stored(t, r, 4)
}

// Rows that raw SQL can write and no record can hold.
func TestBadRowsAreParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table plain (id uuid, aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "alter publication gapless add table plain")
	var sink memory
	r := run(t, s.config(&sink))
	s.exec(t, `insert into plain values
		(null, 'a', 'k1', 't', 'v'), (gen_random_uuid(), null, 'k2', 't', 'v'),
		(gen_random_uuid(), 'no topic', 'k3', 't', 'v'), (gen_random_uuid(), 'a', 'k4', 't', 'good')`)
	want(t, &sink, "v", "good") // without an id, as Debezium sends it
	wantParked(t, s, "parked k2 v bad_topic", "parked k3 v bad_topic")
	s.stored(t, r, 4)
}

// A column that is gone is the fault of the rows that lack it, and of no others.
func TestColumnTakenAwayParks(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table shop_outbox (id uuid primary key, aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "alter publication gapless add table shop_outbox")
	var sink memory
	r := run(t, s.config(&sink))
	insert := "insert into shop_outbox values (gen_random_uuid(), 'a', $1, 't', $2)"
	s.exec(t, insert, "k1", "1")
	s.exec(t, "alter table shop_outbox rename column payload to body")
	s.exec(t, insert, "k1", "2")
	s.exec(t, "alter table shop_outbox rename column body to payload")
	s.exec(t, insert, "k1", "3")
	s.exec(t, insert, "k2", "4")
	want(t, &sink, "1", "4")
	wantParked(t, s, "parked k1  missing_column", "waiting k1 3 waiting")
	s.stored(t, r, 4)
}

// A sink that cannot go on: reset, and everything from the position again.
func TestSinkFailureSendsAgain(t *testing.T) {
	t.Parallel()
	inBoth(t, sinkFailureSendsAgain)
}

func sinkFailureSendsAgain(t *testing.T, s *setup) {
	t.Helper()
	failed := false
	sink := memory{}
	sink.fail = func(v sent) error {
		if v.value == "2" && !failed {
			failed = true
			return errors.New("not authorized")
		}
		return nil
	}
	r := run(t, s.config(&sink))
	s.append(t, "a", "1", "2", "3")
	testkit.Eventually(t, patience, func() error {
		got := sink.values()
		if !slices.Contains(got, "2") || got[len(got)-1] != "3" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	s.stored(t, r, 3)
	if sink.resets == 0 {
		t.Error("sink was not reset")
	}
	if got := s.parked(t); len(got) != 0 {
		t.Errorf("parked %q", got)
	}
	r.become(relay.Streaming)
}

// What would not fit, or would take for ever to park, is parked without its bytes, and a
// topic's name that is no name is cut.
func TestGiantsAreParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table giants (id text, aggregatetype text, aggregateid text, payload text)")
	s.exec(t, "alter publication gapless add table giants")
	sink := memory{refuse: func(v sent) error {
		if len(v.value) > 1<<20 {
			return errTooLarge
		}
		return nil
	}}
	r := run(t, s.config(&sink))
	s.exec(t, `insert into giants values
		('1', 'order', 'a', repeat('x', 40 << 20)), ('2', repeat('T', 1 << 20), 'b', 'x'), ('3', 'order', 'c', repeat('y', 2 << 20)), ('4', 'order', 'd', 'goes on')`)
	want(t, &sink, "goes on")
	s.stored(t, r, 4)
	rows, err := s.pool.Query(t.Context(), `select row_key, octet_length(topic) < 300, coalesce(octet_length(record_value), 0), coalesce((source->>'too_large')::bool, false)
		from gapless.parked where slot = $1 order by row_key`, s.slot)
	if err != nil {
		t.Fatal(err)
	}
	type parked struct {
		Key      string
		Short    bool
		Value    int
		TooLarge bool
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[parked])
	if err != nil {
		t.Fatal(err)
	}
	if want := []parked{{"a", true, 0, true}, {"b", true, 1, false}, {"c", true, 2 << 20, false}}; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// A row that cannot be parked holds the stream, which says so, and goes on by itself.
func TestParkingThatFailsIsSaid(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	r.become(relay.Streaming)
	s.exec(t, "alter table gapless.parked rename to away")
	s.append(t, "k", "poison")
	s.append(t, "l", "goes on")
	want(t, &sink, "goes on")
	r.become(relay.Holding)
	if reason := r.Status().Reason; !strings.Contains(reason, "gapless.parked") {
		t.Errorf("holding for %q", reason)
	}
	s.exec(t, "alter table gapless.away rename to parked")
	r.become(relay.Streaming)
	wantParked(t, s, "parked k poison too_large")
}

// A database that was restored on another server has parked rows whose places mean other
// rows there.
func TestParkedByAnotherServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		system string // that had parked the row
		refuse func(sent) error
		sent   []string
		parked []string
	}{
		"by this one":        {pgtest.SystemIdentifier, nil, []string{"1", "2"}, nil},
		"by another, sent":   {"'1'", nil, []string{"1", "poison", "2"}, nil},
		"by another, parked": {"'1'", poison, []string{"1"}, []string{"parked k poison too_large", "waiting k 2 waiting"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			again := *s
			again.slot += "_2"
			s.exec(t, "select pg_copy_logical_replication_slot($1, $2)", s.slot, again.slot)
			s.append(t, "k", "1", "poison", "2")
			var first memory
			r := run(t, s.config(&first))
			want(t, &first, "1", "poison", "2")
			s.stored(t, r, 3)
			r.stop()
			at := first.records()[1].position
			s.exec(t, `insert into gapless.parked (slot, relation, row_key, topic, system_id, timeline, commit_lsn, commit_index, status, reason, settled_at)
				values ($1, 'gapless.outbox', 'old', 't', `+c.system+`, $2, $3::text::pg_lsn, $4, 'redriven', 'too_large', now())`,
				again.slot, at.Timeline, at.Commit.String(), at.Index)
			sink := memory{refuse: c.refuse}
			r = run(t, again.config(&sink))
			want(t, &sink, c.sent...)
			again.stored(t, r, uint64(len(c.sent)+len(c.parked)))
			if got := slices.DeleteFunc(again.parked(t), func(row string) bool { return row == "redriven old  too_large" }); !slices.Equal(got, c.parked) {
				t.Errorf("parked %q", got)
			}
		})
	}
}
