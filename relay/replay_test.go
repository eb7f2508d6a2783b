package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

func (s *setup) replayer(t *testing.T, sink relay.Sink, change ...func(*relay.ReplayConfig)) *relay.Replayer {
	t.Helper()
	cfg := relay.ReplayConfig{DatabaseURL: s.db.LoginURL(t, pgtest.Relay), Slot: s.slot, Sink: sink, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	r, err := relay.NewReplayer(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return r
}

func opened(t *testing.T, r *relay.Replayer, q relay.ReplayRequest) uuid.UUID {
	t.Helper()
	plan, err := r.Plan(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Start(t.Context(), plan, "a test")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func replayAll(t *testing.T, r *relay.Replayer, q relay.ReplayRequest) relay.ReplayState {
	t.Helper()
	state, err := r.Run(t.Context(), opened(t, r, q))
	if err != nil {
		t.Fatal(err)
	}
	if !state.Finished {
		t.Errorf("state %+v", state)
	}
	return state
}

func headers(s sent, but ...string) (all []string) {
	for _, h := range s.headers {
		if !slices.Contains(but, h.Key) {
			all = append(all, h.Key+"="+string(h.Value))
		}
	}
	return all
}

func TestReplaySendsWhatIsChosen(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var stream memory
	r := run(t, s.config(&stream))
	const insert = `insert into gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
		values ($1, $2, $3, $4, $5, convert_to($6, 'UTF8'), '{"content-type": "text/plain", "x": "y"}', $7)`
	base := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	ids := map[string]string{}
	for i, e := range []struct{ aggregate, id, kind, value string }{
		{"order", "a", "Placed", "1"}, {"order", "b", "Placed", "2"}, {"order", "a", "Paid", "3"}, {"stock", "a", "Reserved", "4"}, {"order", "a", "Shipped", "5"},
	} {
		id := uuid.New()
		ids[e.value] = id.String()
		s.exec(t, insert, id, e.aggregate, e.id, i+1, e.kind, e.value, base.Add(time.Duration(i)*time.Hour))
	}
	want(t, &stream, "1", "2", "3", "4", "5")
	s.stored(t, r, 5)
	at := func(hours int) *time.Time { t := base.Add(time.Duration(hours) * time.Hour); return &t }
	for name, test := range map[string]struct {
		request relay.ReplayRequest
		values  []string
	}{
		"all":           {relay.ReplayRequest{}, []string{"1", "2", "3", "4", "5"}},
		"aggregate":     {relay.ReplayRequest{AggregateType: "order", AggregateID: "a"}, []string{"1", "3", "5"}},
		"type of those": {relay.ReplayRequest{AggregateType: "order"}, []string{"1", "2", "3", "5"}},
		"types":         {relay.ReplayRequest{Types: []string{"Placed", "Shipped"}}, []string{"1", "2", "5"}},
		"time":          {relay.ReplayRequest{From: at(1), To: at(4)}, []string{"2", "3", "4"}},
		"ids":           {relay.ReplayRequest{IDs: []string{ids["4"], ids["2"]}}, []string{"2", "4"}},
		"all of them":   {relay.ReplayRequest{From: at(0), AggregateType: "order", AggregateID: "a", Types: []string{"Paid"}, Topic: "private"}, []string{"3"}},
		"none":          {relay.ReplayRequest{Types: []string{"Nothing"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sink memory
			state := replayAll(t, s.replayer(t, &sink), test.request)
			if got := sink.values(); !slices.Equal(got, test.values) {
				t.Fatalf("sent %q, want %q", got, test.values)
			}
			if state.Sent != int64(len(test.values)) || state.Rows != state.Sent {
				t.Errorf("state %+v", state)
			}
			originals := stream.records()
			for _, got := range sink.records() {
				n, _ := strconv.Atoi(got.value)
				original := originals[n-1]
				topic := original.topic
				if test.request.Topic != "" {
					topic = test.request.Topic
				}
				if got.topic != topic || got.key != original.key || !got.timestamp.Equal(original.timestamp) {
					t.Errorf("replayed %+v, original %+v", got, original)
				}
				if a, b := headers(got, "gapless_replay"), headers(original, "gapless_position"); !slices.Equal(a, b) {
					t.Errorf("headers %q, the original's %q", a, b)
				}
				if got.header("gapless_replay") != state.ID.String() || !slices.IsSortedFunc(got.headers, func(a, b format.Header) int { return strings.Compare(a.Key, b.Key) }) {
					t.Errorf("headers %q", headers(got))
				}
			}
		})
	}
}

// numbered writes n events of four keys.
func (s *setup) numbered(t *testing.T, n int) {
	t.Helper()
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
		select 'order', 'k' || i % 4, 'T', convert_to(i::text, 'UTF8') from generate_series(1, $1::int) i`, n)
}

func oneTo(n int) []string { return numbers(n + 1)[1:] }

// A run ends at a topic that takes nothing, and at its end by the caller; another goes on.
// What comes twice is of the page that was under way.
func TestReplayGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var stream memory
	r := run(t, s.config(&stream))
	s.numbered(t, 350)
	s.stored(t, r, 350)
	var sink memory
	sink.refuse = func(r sent) error {
		if r.value == "150" {
			return &relay.HeldError{Topic: r.topic, Cause: errors.New("planted")}
		}
		return nil
	}
	replayer := s.replayer(t, &sink)
	id := opened(t, replayer, relay.ReplayRequest{Rate: 100})
	state, err := replayer.Run(t.Context(), id)
	if err == nil || !strings.Contains(err.Error(), "planted") || state.Sent != 100 || state.Finished {
		t.Fatalf("state %+v, error %v", state, err)
	}
	sink.mu.Lock()
	sink.refuse = nil
	sink.mu.Unlock()
	sink.hold()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		state, err = replayer.Run(ctx, id)
	}()
	testkit.Eventually(t, patience, func() error {
		if n := len(sink.records()); n < 100+49+100 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	cancel() // with a page that is not acknowledged
	<-ended
	if !errors.Is(err, context.Canceled) || state.Sent != 100 {
		t.Fatalf("state %+v, error %v", state, err)
	}
	sink.release()
	if state, err = replayer.Run(t.Context(), id); err != nil || state.Sent != 350 || !state.Finished {
		t.Fatalf("state %+v, error %v", state, err)
	}
	all := oneTo(350)
	if got, want := sink.values(), slices.Concat(all[:149], all[100:200], all[100:]); !slices.Equal(got, want) {
		t.Errorf("%d records: %q", len(got), got)
	}
	if state, err = replayer.Run(t.Context(), id); err != nil || !state.Finished || len(sink.records()) != 149+100+250 {
		t.Errorf("a finished one: %+v, %v", state, err)
	}
}

// A sink that fails is asked to begin anew; no key's order is turned.
func TestReplayThroughAFailureOfTheSink(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var stream memory
	r := run(t, s.config(&stream))
	s.numbered(t, 2500)
	s.stored(t, r, 2500)
	var sink memory
	var failed atomic.Int64
	sink.fail = func(r sent) error {
		if r.value == "1500" && failed.Add(1) <= 3 {
			return errors.New("planted")
		}
		return nil
	}
	state := replayAll(t, s.replayer(t, &sink), relay.ReplayRequest{})
	if state.Sent != 2500 || failed.Load() != 4 || sink.resets != 3 {
		t.Errorf("state %+v, %d attempts at the record, %d resets", state, failed.Load(), sink.resets)
	}
	seen := map[string]int{}
	first := 0
	for _, r := range sink.records() {
		n, _ := strconv.Atoi(r.value)
		if n > seen[r.key] {
			if seen[r.key] != 0 && n != seen[r.key]+4 {
				t.Fatalf("key %s: %d after %d", r.key, n, seen[r.key])
			}
			seen[r.key] = n
			first++
		}
	}
	if first != 2500 {
		t.Errorf("%d of 2500 were sent", first)
	}
}

// Two processes run one replay: the first stops, and nobody's page is lost.
func TestReplayIsTakenOver(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var stream memory
	r := run(t, s.config(&stream))
	s.numbered(t, 300)
	s.stored(t, r, 300)
	var old, next memory
	old.hold()
	first := s.replayer(t, &old)
	id := opened(t, first, relay.ReplayRequest{Rate: 100})
	result := make(chan error, 1)
	go func() {
		_, err := first.Run(t.Context(), id)
		result <- err
	}()
	testkit.Eventually(t, patience, func() error {
		if n := len(old.records()); n != 100 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	if state, err := s.replayer(t, &next).Run(t.Context(), id); err != nil || state.Sent != 300 {
		t.Fatalf("state %+v, error %v", state, err)
	}
	old.release()
	if err := <-result; !errors.Is(err, relay.ErrReplayTaken) {
		t.Errorf("the first one ended with %v", err)
	}
	if got := next.values(); !slices.Equal(got, oneTo(300)) || len(old.records()) != 100 {
		t.Errorf("the second sent %q, the first %d records", got, len(old.records()))
	}
	if n := s.rows(t, "gapless.relay_replay where finished_at is not null and sent = 300 and runs = 2"); n != 1 {
		t.Error("the record of the replay is not the second one's")
	}
}

// The first occurrence of an event is the stream's, whatever is asked for.
func TestReplaySendsNothingThatTheRelayHasNotSent(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var stream, sink memory
	cfg := s.config(&stream)
	cfg.ProofEvery = 20 * time.Millisecond
	r := run(t, cfg)
	s.append(t, "k", "1", "2")
	s.stored(t, r, 2)
	replayer := s.replayer(t, &sink)
	testkit.Eventually(t, patience, func() error { // a proof follows an event
		s.append(t, "k", "more")
		var proven int
		err := s.pool.QueryRow(t.Context(), `select count(*) from gapless.outbox as o, gapless.relay_proven() as p
			where p.slot = $1 and o.payload = '2' and pg_visible_in_snapshot(o.xid, p.snapshot)`, s.slot).Scan(&proven)
		if err == nil && proven == 0 {
			err = errors.New("nothing is proven")
		}
		return err
	})
	stream.hold()
	s.append(t, "k", "under way")
	testkit.Eventually(t, patience, func() error {
		if got := stream.values(); got[len(got)-1] != "under way" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	replayAll(t, replayer, relay.ReplayRequest{})
	if got := sink.values(); !slices.Contains(got, "2") || slices.Contains(got, "under way") {
		t.Errorf("sent %q", got)
	}
	stream.release()
	r.stop()
	s.append(t, "k", "nobody has seen it")
	sent := len(sink.records())
	replayAll(t, replayer, relay.ReplayRequest{})
	if got := sink.values()[sent:]; !slices.Contains(got, "2") || slices.Contains(got, "nobody has seen it") {
		t.Errorf("sent %q", got)
	}
}

// Parked rows are redrive's, and so is what waits behind them.
func TestReplayLeavesParkedKeysAlone(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var stream, sink memory
	stream.refuse = func(r sent) error {
		if r.value == "poison" {
			return &format.Fault{Reason: format.Refused, Detail: "planted"}
		}
		return nil
	}
	r := run(t, s.config(&stream))
	s.append(t, "a", "1", "poison", "2")
	s.append(t, "b", "3")
	s.stored(t, r, 4)
	state := replayAll(t, s.replayer(t, &sink), relay.ReplayRequest{})
	if got := sink.values(); !slices.Equal(got, []string{"3"}) || state.Held != 3 || state.Sent != 1 {
		t.Errorf("sent %q, state %+v", got, state)
	}
	// A sink that refuses one: it is counted and the rest goes on.
	var picky memory
	picky.refuse = stream.refuse
	s.exec(t, "update gapless.parked set status = 'discarded' where slot = $1", s.slot)
	state = replayAll(t, s.replayer(t, &picky), relay.ReplayRequest{})
	if got := picky.values(); !slices.Equal(got, []string{"1", "2", "3"}) || state.Failed != 1 || state.Sent != 3 || !strings.Contains(state.Fault, "planted") {
		t.Errorf("sent %q, state %+v", got, state)
	}
}

// Long pauses, and more rows at one instant than a page has.
func TestReplayThroughAnyDensity(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var stream memory
	r := run(t, s.config(&stream))
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload, created_at)
		select 'order', 'k', 'T', convert_to(i::text, 'UTF8'), case
			when i <= 10 then timestamptz '2020-01-01' + i * interval '30 days'
			when i <= 3510 then timestamptz '2026-01-01 00:00:00.123456Z'
			else timestamptz '2026-01-01 00:00:01Z' + i * interval '100 microseconds' end
		from generate_series(1, 6000) i`)
	s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload, created_at) values ('order', 'other', 'T', 'never', 'infinity'), ('order', 'other', 'T', 'late', '10000-01-01'), ('order', 'other', 'T', 'early', '0044-01-01 BC')")
	testkit.Eventually(t, patience, func() error {
		if n := r.Status().Events; n < 6000 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	var sink memory
	state := replayAll(t, s.replayer(t, &sink), relay.ReplayRequest{})
	if got := sink.values(); !slices.Equal(got, oneTo(6000)) || state.Sent != 6000 {
		t.Errorf("%d records, state %+v", len(got), state)
	}
}

// A table of one's own: the same bytes, marked only on demand, in the order of a column.
func TestReplayOfATableOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, `create table events (seq bigint generated always as identity, id uuid default gen_random_uuid(), aggregatetype varchar(20), aggregateid text, type text, payload jsonb, at timestamp default clock_timestamp())`)
	s.exec(t, "alter publication gapless add table events")
	s.exec(t, "grant select on events to gapless_relay")
	var stream memory
	r := run(t, s.config(&stream))
	s.exec(t, `insert into events (aggregatetype, aggregateid, type, payload) select 'order', 'k' || i % 3, 'T' || i % 2, jsonb_build_object('n', i) from generate_series(1, 2200) i`)
	s.stored(t, r, 2200)
	originals := stream.values()
	for name, test := range map[string]struct {
		request relay.ReplayRequest
		want    func(i int) bool
	}{
		"by sequence":  {relay.ReplayRequest{OrderBy: "seq"}, func(int) bool { return true }},
		"by time":      {relay.ReplayRequest{OrderBy: "at", Mark: true}, func(int) bool { return true }},
		"an aggregate": {relay.ReplayRequest{OrderBy: "seq", AggregateType: "order", AggregateID: "k1", Types: []string{"T0"}}, func(i int) bool { return i%3 == 1 && i%2 == 0 }},
		"from a time":  {relay.ReplayRequest{OrderBy: "at", From: new(time.Now().Add(-time.Hour))}, func(int) bool { return true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := test.request
			q.Table = "public.events"
			var sink memory
			state := replayAll(t, s.replayer(t, &sink), q)
			var want []string
			for i, value := range originals {
				if test.want(i + 1) {
					want = append(want, value)
				}
			}
			if got := sink.values(); !slices.Equal(got, want) {
				t.Fatalf("%d records, want %d", len(got), len(want))
			}
			for _, r := range sink.records() {
				if mark := r.header("gapless_replay"); (mark != "") != q.Mark || q.Mark && mark != state.ID.String() {
					t.Fatalf("headers %q", headers(r))
				}
			}
		})
	}
}

func TestReplayRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create table events (id uuid, aggregatetype text, aggregateid text, payload text, seq bigint); insert into events values (gen_random_uuid(), 'a', 'k', 'p', null)")
	s.exec(t, "grant select on events to gapless_relay")
	s.exec(t, "create table hidden (like events)")
	s.exec(t, "alter publication gapless add table events, hidden")
	now := time.Now()
	var sink memory
	replayer := s.replayer(t, &sink)
	r := run(t, s.config(&sink))
	s.append(t, "k", "v")
	s.stored(t, r, 1)
	for what, q := range map[string]relay.ReplayRequest{
		"no table public.nothing":          {Table: "public.nothing"},
		"is not schema.table":              {Table: "events"},
		"not an outbox":                    {Table: "gapless.dead_letter"},
		"no column created_at":             {Table: "public.events"},
		"no column type":                   {Table: "public.events", OrderBy: "seq", Types: []string{"T"}},
		"is no time":                       {Table: "public.events", OrderBy: "seq", From: &now},
		"permission denied":                {Table: "public.hidden", OrderBy: "seq"},
		"invalid input syntax for type uu": {IDs: []string{"seven"}},
	} {
		if _, err := replayer.Plan(t.Context(), q); !errors.Is(err, relay.ErrReplayInput) || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v: %v, want %q", q, err, what)
		}
	}
	other := s.replayer(t, &sink, func(c *relay.ReplayConfig) { c.Slot = "nobodys" })
	if _, err := other.Plan(t.Context(), relay.ReplayRequest{}); !errors.Is(err, relay.ErrReplayInput) || !strings.Contains(err.Error(), "--slot") {
		t.Errorf("another slot: %v", err)
	}
	if _, err := replayer.Run(t.Context(), uuid.New()); !errors.Is(err, relay.ErrReplayInput) {
		t.Errorf("an unknown replay: %v", err)
	}
	id := opened(t, replayer, relay.ReplayRequest{})
	s.exec(t, "update gapless.relay_replay set timeline = timeline + 1 where id = $1", id)
	if _, err := replayer.Run(t.Context(), id); !errors.Is(err, relay.ErrReplayInput) || !strings.Contains(err.Error(), "history") {
		t.Errorf("another history: %v", err)
	}
}
