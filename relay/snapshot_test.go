package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
)

// snapshotted is a relay with a signal table, tables of one's own, and a sink for replays.
type snapshotted struct {
	*setup
	cfg           relay.Config
	log           *testkit.Buffer
	stream, again memory
}

func newSnapshotted(t *testing.T) *snapshotted {
	t.Helper()
	on := newSetup(t)
	return snapshottedOn(t, on, on.db.LoginURL(t, pgtest.Relay))
}

func snapshottedOn(t *testing.T, on *setup, login string) *snapshotted {
	t.Helper()
	s := &snapshotted{setup: on}
	s.stream.double = &s.again
	s.cfg, s.log = s.signalled(t, &s.stream)
	s.cfg.DatabaseURL = login
	for _, table := range []string{"first", "second"} {
		s.exec(t, "create table "+table+" (id uuid primary key default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload text, n bigint generated always as identity)")
		s.exec(t, "alter publication gapless add table "+table)
		s.exec(t, "grant select on "+table+" to gapless_relay")
	}
	return s
}

// On a server where nothing else is written a replay has to pass all the same, also where
// the slot does not go ahead of the record: the login may not read a table.
func TestSnapshotOnAQuietServer(t *testing.T) {
	t.Parallel()
	on, server := ownServer(t, nil)
	on.exec(t, "create role quiet login replication password 'p' in role gapless_relay")
	s := snapshottedOn(t, on, server.UserURL("quiet", "p", "postgres"))
	s.exec(t, "create table unread (like first); alter publication gapless add table unread")
	run(t, s.cfg)
	s.rowsOf(t, "first", 3)
	s.streamed(t, 3)
	for n := range 2 {
		s.signal(t, fmt.Sprintf("replay-%d", n), "execute-snapshot", `{"data-collections": ["public.first"], "surrogate-key": "n"}`)
		s.replays(t, n+1, "finished_at is not null and error = '' and sent = 3")
	}
}

// rowsOf writes n rows of two types to a table.
func (s *snapshotted) rowsOf(t *testing.T, table string, n int) {
	t.Helper()
	s.exec(t, "insert into "+table+" (aggregatetype, aggregateid, type, payload) select case when i % 2 = 0 then 'order' else 'stock' end, 'k' || i % 4, 'T', '"+table+"-' || i from generate_series(1, $1::int) i", n)
}

func (s *snapshotted) signal(t *testing.T, id, kind, data string) {
	t.Helper()
	s.together(t, signalRow(id, kind, strings.ReplaceAll(data, "'", "''")))
}

// sentAgain waits for what the replays have sent.
func (s *snapshotted) sentAgain(t *testing.T, want ...string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := s.again.values(); !slices.Equal(got, want) {
			return fmt.Errorf("%d sent again, want %d: %.300q\n%s", len(got), len(want), got, s.log)
		}
		return nil
	})
}

// replays waits until n rows of gapless.relay_replay have the condition.
func (s *snapshotted) replays(t *testing.T, n int, where string) {
	t.Helper()
	// A replay waits for each transaction that is open in the server, also of other tests.
	testkit.Eventually(t, 3*patience, func() error {
		if got := s.rows(t, "gapless.relay_replay where "+where); got != n {
			return fmt.Errorf("%d replays with %s, want %d: %s\n%s", got, where, n, s.text(t, "select coalesce(json_agg(r), '[]')::text from gapless.relay_replay r"), s.log)
		}
		return nil
	})
}

func named(table string, numbers ...int) (values []string) {
	for _, n := range numbers {
		values = append(values, fmt.Sprintf("%s-%d", table, n))
	}
	return values
}

// streamed waits until the stream has sent n records, and no more.
func (s *snapshotted) streamed(t *testing.T, n int) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if got := len(s.stream.records()); got != n {
			return fmt.Errorf("%d of %d were streamed", got, n)
		}
		return nil
	})
}

// The rows that are matched go out again as they were, beside the stream, and once for a
// signal.
func TestSnapshotSignal(t *testing.T) {
	t.Parallel()
	s := newSnapshotted(t)
	run(t, s.cfg)
	s.rowsOf(t, "first", 6)
	s.rowsOf(t, "second", 4)
	s.append(t, "k", "native")
	s.signal(t, "s1", "execute-snapshot", `{"data-collections": ["PUBLIC\\.second", "public.(first|second|debezium_signal)"], "type": "INCREMENTAL", "surrogate-key": "n", "additional-conditions":
		[{"data-collection": "public.FIRST", "filter": "aggregatetype = 'order' and payload <> 'x)' -- a remark"}]}`)
	s.replays(t, 2, "finished_at is not null and sent = rows and signal = 's1' and error = ''")
	s.sentAgain(t, append(named("second", 1, 2, 3, 4), named("first", 2, 4, 6)...)...)
	s.streamed(t, 11)
	originals := map[string]string{}
	for _, o := range s.stream.records() {
		o.position, o.timestamp = s.stream.records()[0].position, time.Time{}
		originals[o.value] = fmt.Sprintf("%+v", o)
	}
	for _, got := range s.again.records() {
		got.position, got.timestamp = s.stream.records()[0].position, time.Time{}
		if text := fmt.Sprintf("%+v", got); text != originals[got.value] {
			t.Errorf("sent again %s, the original was %s", text, originals[got.value])
		}
	}
	if n := s.rows(t, "gapless.audit where action = 'relay replay' and reason like 'signal s1 at %' and detail ->> 'filter' is not null"); n != 1 {
		t.Errorf("%d rows of audit with the filter", n)
	}
	// Another one, of gapless.outbox, with the mark, without a limit.
	s.signal(t, "s2", "execute-snapshot", `{"data-collections": ["gapless.outbox"], "rate": 0}`)
	s.replays(t, 3, "finished_at is not null")
	all := s.again.records()
	if last := all[len(all)-1]; last.value != "native" || last.header("gapless_replay") == "" {
		t.Errorf("%+v", last)
	}
}

// A relay that reads the signal again starts nothing, and one that dies amid a replay
// leaves it to the next.
func TestSnapshotSignalIsExecutedOnce(t *testing.T) {
	t.Parallel()
	s := newSnapshotted(t)
	s.cfg.StopTimeout = time.Second
	r := run(t, s.cfg)
	s.rowsOf(t, "first", 300)
	s.streamed(t, 300)
	s.stream.hold()
	s.append(t, "k", "not acknowledged") // the position stays before it
	s.signal(t, "s", "execute-snapshot", `{"data-collections": ["public.first"], "surrogate-key": "n", "rate": 100, "mark-replays": true}`)
	s.replays(t, 1, "not planned and finished_at is null") // it waits for the stream
	r.stop()
	r = run(t, s.cfg)
	testkit.Eventually(t, patience, func() error {
		if got := len(s.stream.records()); got != 302 {
			return fmt.Errorf("%d records", got)
		}
		return nil
	})
	s.stream.release()
	s.replays(t, 1, "sent >= 100 and finished_at is null")
	r.stop()
	sent := len(s.again.records())
	if sent >= 300 {
		t.Fatalf("%d records: it was not stopped in the middle", sent)
	}
	r = run(t, s.cfg)
	s.replays(t, 1, "sent = 300 and rows = 300 and finished_at is not null")
	if n := s.rows(t, "gapless.relay_replay"); n != 1 {
		t.Errorf("%d replays", n)
	}
	if n := s.rows(t, "gapless.audit where action = 'relay replay'"); n != 1 {
		t.Errorf("%d rows of audit", n)
	}
	values := s.again.values()
	if extra := len(values) - 300; extra < 0 || extra > 100 {
		t.Errorf("%d records, a page has 100", len(values))
	}
	slices.Sort(values)
	if n := len(slices.Compact(values)); n != 300 {
		t.Errorf("%d of 300 came again", n)
	}
	if s.again.records()[0].header("gapless_replay") == "" {
		t.Error("there is no mark")
	}
	r.stop()
}

func TestSnapshotSignalsStopAndPause(t *testing.T) {
	t.Parallel()
	s := newSnapshotted(t)
	r := run(t, s.cfg)
	s.rowsOf(t, "first", 500)
	s.rowsOf(t, "second", 500)
	s.streamed(t, 1000)
	s.signal(t, "s", "execute-snapshot", `{"data-collections": ["public.first", "public.second"], "surrogate-key": "n", "rate": 50}`)
	s.replays(t, 1, "sent >= 50")
	s.signal(t, "p", "pause-snapshot", "")
	s.replays(t, 2, "paused")
	testkit.Eventually(t, patience, func() error {
		if !strings.Contains(s.log.String(), "replay paused by a signal") {
			return errors.New("it is not paused")
		}
		return nil
	})
	sent := len(s.again.records())
	r.stop()
	run(t, s.cfg) // a pause outlives a restart
	s.append(t, "k", "goes on")
	s.streamed(t, 1001)
	if got := len(s.again.records()); got != sent {
		t.Errorf("%d were sent while it was paused", got-sent)
	}
	s.signal(t, "x", "stop-snapshot", `{"data-collections": ["public.second"], "type": "incremental"}`)
	s.replays(t, 1, "error like 'stopped by signal x at %' and finished_at is not null and sent = 0")
	s.signal(t, "r", "resume-snapshot", "{}")
	s.replays(t, 1, fmt.Sprintf("not paused and sent >= %d and finished_at is null", sent+50))
	s.signal(t, "y", "stop-snapshot", "")
	s.replays(t, 2, "finished_at is not null and error <> ''")
	testkit.Eventually(t, patience, func() error {
		if !strings.Contains(s.log.String(), "replay stopped by a signal") {
			return errors.New("it is not stopped")
		}
		return nil
	})
	values := s.again.values()
	if len(values) >= 500 || !slices.Equal(values, named("first", toInts(len(values))...)) {
		t.Errorf("%d records: %q", len(values), values)
	}
	// One that was asked for later is none of theirs.
	s.signal(t, "s2", "execute-snapshot", `{"data-collections": ["public.second"], "surrogate-key": "n", "rate": 0}`)
	s.replays(t, 1, "signal = 's2' and sent = 500 and finished_at is not null and error = ''")
	if n := s.rows(t, "gapless.audit where action = 'relay replay stop'"); n != 2 {
		t.Errorf("%d rows of audit for what was stopped", n)
	}
}

func toInts(n int) (all []int) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// A replay holds up nothing of the stream, and a stream that is paused holds the replay.
func TestSnapshotBesideTheStream(t *testing.T) {
	t.Parallel()
	s := newSnapshotted(t)
	r := run(t, s.cfg)
	s.rowsOf(t, "first", 3)
	s.streamed(t, 3)
	s.again.hold()
	s.signal(t, "s", "execute-snapshot", `{"data-collections": [" public.first "], "surrogate-key": "n"}`)
	s.sentAgain(t, named("first", 1, 2, 3)...) // and not acknowledged
	s.append(t, "k", "goes on")
	s.streamed(t, 4)
	s.replays(t, 1, "sent = 0 and finished_at is null")
	s.again.release()
	s.replays(t, 1, "sent = 3 and finished_at is not null")
	// Between a pause and its resume, which is read before it.
	s.together(t, signalRow("p", "pause", ""), signalRow("s2", "execute-snapshot", `{"data-collections": ["public.first"], "surrogate-key": "n"}`), event("later"))
	r.become(relay.Paused)
	s.signal(t, "r", "resume", "")
	s.streamed(t, 5)
	s.replays(t, 2, "sent = 3 and finished_at is not null")
	s.pause(t, true)
	r.become(relay.Paused)
	s.exec(t, "update gapless.relay_replay set finished_at = null, sent = 0, place = null where signal = 's2'") // as if it were under way
	r.stop()
	r = run(t, s.cfg)
	r.become(relay.Paused)
	s.replays(t, 1, "signal = 's2' and runs = 2") // it is at it
	before := len(s.again.records())
	s.pause(t, false)
	s.replays(t, 2, "sent = 3 and finished_at is not null")
	if got := len(s.again.records()); before != 6 || got != 9 {
		t.Errorf("%d records while it was paused, %d after", before, got)
	}
}

// Of what was committed before the signal nothing is left out because something else was
// under way.
func TestSnapshotWaitsForTransactions(t *testing.T) {
	t.Parallel()
	s := newSnapshotted(t)
	run(t, s.cfg)
	other, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := other.Exec(t.Context(), "insert into first (payload) values ('open')"); err != nil {
		t.Fatal(err)
	}
	s.rowsOf(t, "first", 3) // younger than what is open, and committed
	s.signal(t, "s", "execute-snapshot", `{"data-collections": ["public.first"], "surrogate-key": "n"}`)
	s.streamed(t, 3)
	s.replays(t, 1, "runs = 1 and not planned")
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.sentAgain(t, named("first", 1, 2, 3)...)
}

// What cannot be carried out is one warning; events and other replays go on.
func TestSnapshotSignalsThatAreNone(t *testing.T) {
	t.Parallel()
	s := newSnapshotted(t)
	s.cfg.FilterTimeout = 300 * time.Millisecond
	s.exec(t, "create table x (n int); create table hidden (like first including all); alter publication gapless add table hidden")
	s.exec(t, "grant insert on x to gapless_relay; create function writes() returns boolean language sql as 'insert into public.x values (1) returning true'")
	s.exec(t, "create table keyless (like first); alter publication gapless add table keyless; grant select on keyless to gapless_relay")
	run(t, s.cfg)
	s.rowsOf(t, "first", 3)
	s.streamed(t, 3)
	filtered := func(filter string) string {
		return fmt.Sprintf(`{"data-collections": ["public.first"], "surrogate-key": "n", "additional-conditions": [{"data-collection": "public.first", "filter": %q}]}`, filter)
	}
	refused := map[string]string{ // at once
		"blocking":  `{"data-collections": ["public.first"], "type": "blocking"}`,
		"unknown":   `{"data-collections": ["public.first"], "additional-condition": "true"}`,
		"nothing":   `{"data-collections": ["public.firs"]}`,
		"none":      `{"data-collections": []}`,
		"empty":     ``,
		"regex":     `{"data-collections": ["public.(first"]}`,
		"negative":  `{"data-collections": ["public.first"], "rate": -1}`,
		"character": strings.ReplaceAll(filtered("payload = 'ZERO'"), "ZERO", `\u0000`),
	}
	givenUp := map[string]string{ // when it is looked at
		"drop":      filtered("true); drop table x; --"),
		"escape":    filtered("1=1) or (1=1"),
		"escape2":   filtered("1=1] or ARRAY[1=1"),
		"union":     filtered("true) union select 1 from (select 1 where true"),
		"comment":   filtered("true /*"),
		"quote":     filtered("payload = 'x"),
		"sleep":     filtered("pg_sleep(100)"),
		"sleeps":    filtered("pg_sleep(100) is not null"),
		"column":    filtered("colour = 'blue'"),
		"two":       filtered("true, false"),
		"number":    filtered("1"),
		"parameter": filtered("payload = $1"),
		"aggregate": filtered("count(*) > 0"),
		"writes":    filtered("public.writes()"),
		"unlocked":  filtered("set_config('transaction_read_only', 'off', true) is not null and public.writes()"),
		"fails":     filtered("1 / (length(payload) - length(payload)) = 1"),
		"cites":     filtered("payload::int = 1"),
		"hidden":    `{"data-collections": ["public.hidden"]}`,
		"key":       `{"data-collections": ["public.first"], "surrogate-key": "nothing"}`,
		"keyless":   `{"data-collections": ["public.keyless"]}`,
	}
	for id, data := range refused {
		s.signal(t, id, "execute-snapshot", data)
	}
	for id, data := range givenUp {
		s.signal(t, id, "execute-snapshot", data)
	}
	s.signal(t, "stop-blocking", "stop-snapshot", `{"type": "blocking"}`)
	s.signal(t, "good", "execute-snapshot", filtered("set_config('search_path', 'nowhere', false) is not null and payload = any (array(select payload from public.first\norder by n limit 2))"))
	s.append(t, "k", "goes on")
	s.streamed(t, 4)
	s.replays(t, len(givenUp), "finished_at is not null and error <> '' and sent = 0 and signal <> 'good'")
	s.replays(t, 1, "signal = 'good' and finished_at is not null and error = '' and sent = 2")
	s.sentAgain(t, named("first", 1, 2)...)
	if n := s.rows(t, "x"); n != 0 {
		t.Errorf("a filter has written %d rows", n)
	}
	if n := s.rows(t, "gapless.relay_replay"); n != len(givenUp)+1 {
		t.Errorf("%d replays", n)
	}
	text := s.log.String()
	for id := range refused {
		if n := strings.Count(text, `level=WARN msg="signal refused" slot=`+s.slot+" id="+id+" "); n != 1 {
			t.Errorf("%s: %d warnings", id, n)
		}
	}
	if n := strings.Count(text, "level=WARN"); n != len(refused)+len(givenUp)+1 {
		t.Errorf("%d warnings for %d signals: %s", n, len(refused)+len(givenUp)+1, text)
	}
	if strings.Contains(text, "first-") {
		t.Errorf("the log cites a row: %s", text)
	}
	for _, want := range []string{"blocking", "SQLSTATE 22P02", "took longer than 300ms", `unknown field \"additional-condition\"`, "match none of", "grant the relay's login SELECT"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not have %q: %s", want, text)
		}
	}
}
