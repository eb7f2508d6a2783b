package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// request asks for an action on all parked rows of the slot, and returns its id.
func (s *setup) request(t testing.TB, action string) (id int64) {
	t.Helper()
	if s.kafka != nil {
		return s.requestInKafka(t, action)
	}
	var ids []uuid.UUID
	rows, err := s.pool.Query(t.Context(), "select id from gapless.parked where slot = $1 and status = 'parked'", s.slot)
	if err == nil {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	}
	if err != nil || len(ids) == 0 {
		t.Fatalf("%d parked rows, %v", len(ids), err)
	}
	var n int
	err = s.pool.QueryRow(t.Context(), sql.OpsParkedRequest, pgx.StrictNamedArgs{
		"slot": s.slot, "action": action, "filter": "{}", "reason": "for the test", "ids": ids,
	}).Scan(&id, &n)
	if err != nil || n != len(ids) {
		t.Fatalf("%d of %d rows, %v", n, len(ids), err)
	}
	return id
}

func (s *setup) finished(t testing.TB, request int64) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if s.kafka != nil {
			return s.finishedInKafka(t, request)
		}
		var done bool
		err := s.pool.QueryRow(t.Context(), "select finished_at is not null from gapless.relay_request where id = $1", request).Scan(&done)
		if err == nil && !done {
			err = errors.New("request is open")
		}
		return err
	})
}

// accepting is a sink whose refusals end when the test says so.
func accepting(sink *memory) {
	sink.mu.Lock()
	defer sink.mu.Unlock()
	sink.refuse, sink.fail = nil, nil
}

func TestRedriveKeepsTheKeysOrder(t *testing.T) {
	t.Parallel()
	inBoth(t, redriveKeepsTheKeysOrder)
}

func redriveKeepsTheKeysOrder(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	s.append(t, "a", "a1", "poison", "a2")
	s.append(t, "b", "b1")
	s.append(t, "a", "a3")
	want(t, &sink, "a1", "b1")
	wantParked(t, s, "parked a poison too_large", "waiting a a2 waiting", "waiting a a3 waiting")
	before := sink.records()[0]
	accepting(&sink)
	s.finished(t, s.request(t, "redrive"))
	want(t, &sink, "a1", "b1", "poison", "a2", "a3")
	wantParked(t, s, "redriven a poison too_large", "redriven a a2 waiting", "redriven a a3 waiting")
	s.append(t, "a", "a4")
	want(t, &sink, "a1", "b1", "poison", "a2", "a3", "a4")
	s.stored(t, r, 6)
	// The record is the one that it would have been.
	again := sink.records()[2]
	if again.topic != before.topic || again.key != "a" || again.header("id") == "" || again.header("id") == before.header("id") || again.timestamp.IsZero() ||
		!slices.EqualFunc(again.headers, before.headers, func(a, b format.Header) bool { return a.Key == b.Key }) {
		t.Errorf("redriven as %+v", again)
	}
}

func TestDiscardLetsTheRestGo(t *testing.T) {
	t.Parallel()
	inBoth(t, discardLetsTheRestGo)
}

func discardLetsTheRestGo(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{refuse: poison}
	run(t, s.config(&sink))
	s.append(t, "a", "poison", "a1", "poison", "a2")
	wantParked(t, s, "parked a poison too_large", "waiting a a1 waiting", "waiting a poison waiting", "waiting a a2 waiting")
	s.finished(t, s.request(t, "discard"))
	want(t, &sink, "a1")
	// What waited and cannot be sent either is the one that the key waits for now.
	wantParked(t, s, "discarded a poison too_large", "redriven a a1 waiting", "parked a poison too_large", "waiting a a2 waiting")
	s.finished(t, s.request(t, "discard"))
	s.append(t, "a", "a3")
	want(t, &sink, "a1", "a2", "a3")
}

func TestRedriveInVain(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*memory){
		"at once": func(m *memory) { m.refuse = poison },
		"late":    func(m *memory) { m.fail = poison },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(t *testing.T, s *setup) { redriveInVain(t, s, refuse) })
		})
	}
}

func redriveInVain(t *testing.T, s *setup, refuse func(*memory)) {
	t.Helper()
	var sink memory
	refuse(&sink)
	run(t, s.config(&sink))
	s.append(t, "a", "poison", "a1")
	wantParked(t, s, "parked a poison too_large", "waiting a a1 waiting")
	before := len(sink.values())
	s.finished(t, s.request(t, "redrive"))
	wantParked(t, s, "parked a poison too_large", "waiting a a1 waiting")
	if got := s.attempts(t); got != 2 {
		t.Errorf("%d attempts", got)
	}
	if got := sink.values()[before:]; len(got) != 0 {
		t.Errorf("sent past the parked row: %q", got)
	}
	accepting(&sink)
	s.finished(t, s.request(t, "redrive"))
	s.append(t, "a", "a2")
	testkit.Eventually(t, patience, func() error {
		if got := sink.values()[before:]; !slices.Equal(got, []string{"poison", "a1", "a2"}) {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

// attempts of the one parked row.
func (s *setup) attempts(t testing.TB) (n int) {
	t.Helper()
	if s.kafka == nil {
		if err := s.pool.QueryRow(t.Context(), "select attempts from gapless.parked where slot = $1 and status = 'parked'", s.slot).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	err := s.inState(t.Context(), func(v *kafkastate.Slot) error {
		n = v.Rows()[0].Mark.Attempts
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A hot key is let go while its rows keep coming: none is lost or overtaken.
func TestRedriveUnderLoad(t *testing.T) {
	t.Parallel()
	inBoth(t, redriveUnderLoad)
}

func redriveUnderLoad(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{refuse: poison}
	run(t, s.config(&sink))
	s.append(t, "hot", "poison")
	wantParked(t, s, "parked hot poison too_large")
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			s.append(t, "hot", strconv.Itoa(n))
		}
		written <- n
	}()
	waiting := func(least int) {
		testkit.Eventually(t, patience, func() error {
			if n := s.count(t, "waiting"); n < least {
				return fmt.Errorf("%d rows wait", n)
			}
			return nil
		})
	}
	waiting(600) // more than two batches
	accepting(&sink)
	s.finished(t, s.request(t, "redrive"))
	here := len(sink.values())
	testkit.Eventually(t, patience, func() error { // past the table
		if n := len(sink.values()); n < here+100 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	cancel()
	n := <-written
	all := []string{"poison"}
	for i := range n {
		all = append(all, strconv.Itoa(i))
	}
	want(t, &sink, all...)
	if open := s.count(t, "parked", "waiting", "redriving"); open != 0 {
		t.Errorf("%d rows left", open)
	}
}

// Keys are redriven by themselves, and one stays behind a row that is to stay.
func TestRedriveStopsAtWhatStaysParked(t *testing.T) {
	t.Parallel()
	inBoth(t, redriveStopsAtWhatStaysParked)
}

func redriveStopsAtWhatStaysParked(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{refuse: poison}
	run(t, s.config(&sink))
	s.append(t, "a", "poison", "a1", "poison", "a2")
	s.append(t, "b", "poison", "b1")
	wantParked(t, s, "parked a poison too_large", "waiting a a1 waiting", "waiting a poison waiting", "waiting a a2 waiting",
		"parked b poison too_large", "waiting b b1 waiting")
	request := s.request(t, "redrive")
	s.finished(t, request)
	sink.mu.Lock()
	once := 0
	sink.refuse = func(v sent) error { // the first of a is taken now, the second not
		if v.value == "poison" && v.key == "a" {
			if once++; once == 1 {
				return nil
			}
			return errTooLarge
		}
		return nil
	}
	sink.mu.Unlock()
	s.finished(t, s.request(t, "redrive"))
	wantParked(t, s, "redriven a poison too_large", "redriven a a1 waiting", "parked a poison too_large", "waiting a a2 waiting",
		"redriven b poison too_large", "redriven b b1 waiting")
	want(t, &sink, "poison", "poison", "a1", "b1")
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	t.Run("skip", func(t *testing.T) {
		t.Parallel()
		inBoth(t, skips)
	})
	t.Run("halt", func(t *testing.T) {
		t.Parallel()
		inBoth(t, halts)
	})
	var sink memory
	for _, bad := range []map[string]relay.Policy{{"too big": relay.Skip}, {format.TooLarge: "drop"}} {
		if _, err := relay.New(relay.Config{DatabaseURL: "postgres://", Sink: &sink, OnFault: bad}); err == nil || !strings.Contains(err.Error(), "OnFault") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func skips(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{refuse: poison}
	cfg := s.config(&sink)
	cfg.OnFault = map[string]relay.Policy{format.TooLarge: relay.Skip}
	r := run(t, cfg)
	s.append(t, "a", "poison", "a1")
	want(t, &sink, "a1")
	wantParked(t, s, "parked a poison too_large")
	s.stored(t, r, 2)
	r.stop()
	accepting(&sink)
	run(t, cfg)
	s.append(t, "a", "a2") // not blocked after a restart either
	want(t, &sink, "a1", "a2")
	s.finished(t, s.request(t, "redrive"))
	want(t, &sink, "a1", "a2", "poison")
}

func halts(t *testing.T, s *setup) {
	t.Helper()
	sink := memory{fail: poison}
	cfg := s.config(&sink)
	cfg.OnFault = map[string]relay.Policy{format.TooLarge: relay.Halt}
	r := run(t, cfg)
	s.append(t, "a", "a1", "poison", "a2")
	err := r.ended()
	refusal(t, err, "halts by policy")
	if got := s.parked(t); len(got) != 0 {
		t.Errorf("parked %q", got)
	}
	accepting(&sink)
	run(t, cfg)
	testkit.Eventually(t, patience, func() error {
		if got := sink.values(); got[len(got)-1] != "a2" {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

// A row of which no record could be made is made again, by the options of then.
func TestRedriveMakesTheRecordAgain(t *testing.T) {
	t.Parallel()
	inBoth(t, redriveMakesTheRecordAgain)
}

func redriveMakesTheRecordAgain(t *testing.T, s *setup) {
	t.Helper()
	s.exec(t, "create table shop_outbox (id uuid primary key, aggregatetype text, aggregateid text, type text, body text, n numeric)")
	s.exec(t, "alter publication gapless add table shop_outbox")
	var sink memory
	r := run(t, s.config(&sink))
	s.exec(t, "insert into shop_outbox values (gen_random_uuid(), 'a', 'k1', 't', 'text of the body', 1.50)")
	s.exec(t, "insert into shop_outbox values (gen_random_uuid(), 'a', 'k1', 't', null, null)")
	wantParked(t, s, "parked k1  missing_column", "waiting k1  missing_column")
	r.stop()
	cfg := s.config(&sink)
	cfg.Tables = map[string]format.Format{"public.shop_outbox": eventrouter.Config{
		Payload: "body", Placements: []eventrouter.Placement{{Column: "n", Where: eventrouter.Header}},
	}}
	run(t, cfg)
	s.finished(t, s.request(t, "redrive"))
	want(t, &sink, "text of the body", "")
	got := sink.records()
	if got[0].topic != "outbox.event.a" || got[0].key != "k1" || got[0].header("n") == "" || !got[1].null {
		t.Errorf("%+v", got)
	}
}

// What a row that cannot be made would otherwise say again and again.
func TestRedriveOfAMessage(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	run(t, s.withMessages(&sink))
	s.exec(t, `select pg_logical_emit_message(true, 'gapless.outbox', '{"aggregatetype": "no topic"}')`)
	s.exec(t, `select pg_logical_emit_message(true, 'gapless.outbox', '{"id":"0199c0de-0000-7000-8000-000000000001","aggregatetype":"order","aggregateid":"k","type":"T","payload":"YQ=="}')`)
	want(t, &sink, "a")
	testkit.Eventually(t, patience, func() error {
		if got := len(s.sources(t)); got != 1 {
			return fmt.Errorf("%d rows parked", got)
		}
		return nil
	})
	s.finished(t, s.request(t, "redrive"))
	if got := s.sources(t); len(got) != 1 || !strings.Contains(got[0], "message") || !strings.HasPrefix(got[0], "parked 2") {
		t.Errorf("%q", got)
	}
}

func (s *setup) sources(t testing.TB) []string {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), "select status || ' ' || attempts || ' ' || source from gapless.parked where slot = $1", s.slot)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A key longer than an index entry is parked, and found again; a null key blocks
// nothing.
func TestLongKeyIsParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	s.exec(t, "create table long (id uuid, aggregatetype text, aggregateid text, type text, payload text)")
	s.exec(t, "alter publication gapless add table long")
	s.exec(t, `insert into long
		select gen_random_uuid(), 'order', (select string_agg(md5(i::text), '') from generate_series(1, 1000) i), 'T', v from unnest(array['poison', '1']) v`)
	s.exec(t, "insert into long values (gen_random_uuid(), 'order', null, 'T', 'poison')")
	s.exec(t, "insert into long values (gen_random_uuid(), 'order', null, 'T', 'null')")
	want(t, &sink, "null")
	s.stored(t, r, 4)
	accepting(&sink)
	s.finished(t, s.request(t, "redrive"))
	want(t, &sink, "null", "poison", "poison", "1")
}

// A paused relay redrives nothing.
func TestPausedRedrivesNothing(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	sink := memory{refuse: poison}
	r := run(t, s.config(&sink))
	s.append(t, "a", "poison")
	wantParked(t, s, "parked a poison too_large")
	s.exec(t, "insert into gapless.relay_control (slot, paused, reason) values ($1, true, 'for the test')", s.slot)
	r.become(relay.Paused)
	accepting(&sink)
	request := s.request(t, "redrive")
	var asked string
	testkit.Eventually(t, patience, func() error { // it goes on asking, and finds the request
		err := s.pool.QueryRow(t.Context(), `select query from pg_stat_activity where application_name = $1 and state = 'idle'
			and query like '%relay_request%' and query_start > (select requested_at + interval '1 second' from gapless.relay_request where id = $2)`,
			"gapless relay "+s.slot, request).Scan(&asked)
		return err
	})
	if got := sink.values(); len(got) != 0 {
		t.Errorf("sent %q", got)
	}
	s.exec(t, "update gapless.relay_control set paused = false where slot = $1", s.slot)
	s.finished(t, request)
	want(t, &sink, "poison")
}
