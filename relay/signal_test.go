package relay_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

const signalTable = "public.debezium_signal"

// signalled is a setup with a signal table, and the relay's configuration for it.
func signalled(t *testing.T, sink relay.Sink) (*setup, relay.Config, *testkit.Buffer) {
	t.Helper()
	s := newSetup(t)
	cfg, log := s.signalled(t, sink)
	return s, cfg, log
}

func (s *setup) signalled(t *testing.T, sink relay.Sink) (relay.Config, *testkit.Buffer) {
	t.Helper()
	s.makeSignalTable(t)
	cfg := s.config(sink)
	cfg.SignalTable = signalTable
	var log testkit.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	return cfg, &log
}

func (s *setup) makeSignalTable(t *testing.T) {
	t.Helper()
	s.exec(t, "create table debezium_signal (id varchar(42) primary key, type varchar(32) not null, data varchar(2048))")
	s.exec(t, "alter publication gapless add table debezium_signal")
}

// event and signalRow are statements, to be put together to transactions.
func event(value string) string {
	return fmt.Sprintf("insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'k', 'T', '%s')", value)
}

func signalRow(id, kind, data string) string {
	return fmt.Sprintf("insert into debezium_signal values ('%s', '%s', nullif('%s', ''))", id, kind, data)
}

// together runs statements in one transaction.
func (s *setup) together(t *testing.T, statements ...string) {
	t.Helper()
	s.script(t, strings.Join(statements, ";"))
}

// A pause stands in its place among the events, and so does the resume that ends it.
func TestSignalsStandAmongTheEvents(t *testing.T) {
	t.Parallel()
	var sink memory
	s, cfg, _ := signalled(t, &sink)
	cfg.DatabaseURL = s.db.LoginURL(t, pgtest.Relay) // which may not even read the table
	r := run(t, cfg)
	s.together(t, event("1"), signalRow("p1", "pause", ""), event("2"))
	want(t, &sink, "1")
	r.become(relay.Paused)
	if got := r.Status().Reason; !strings.Contains(got, "signal p1 at ") {
		t.Errorf("reason %q", got)
	}
	s.append(t, "k", "3")
	s.together(t, signalRow("r1", "resume", "{}"), event("4"), signalRow("p2", "pause", ""), event("5"))
	want(t, &sink, "1", "2", "3", "4")
	r.become(relay.Paused)
	s.together(t, signalRow("r2", "resume", ""))
	want(t, &sink, "1", "2", "3", "4", "5")
	r.become(relay.Streaming)
	s.together(t, event("6"), signalRow("p3", "pause", ""), signalRow("r3", "resume", ""), event("7"))
	want(t, &sink, "1", "2", "3", "4", "5", "6", "7")
	r.become(relay.Streaming)
	s.stored(t, r, 7)
	if n := s.rows(t, "gapless.audit"); n != 6 {
		t.Errorf("%d rows of audit, want 6", n)
	}
}

// A pause that an operator has ended is not executed again by a relay that reads its row
// again: the position is before it.
func TestSignalIsExecutedOnce(t *testing.T) {
	t.Parallel()
	var sink memory
	s, cfg, log := signalled(t, &sink)
	r := run(t, cfg)
	s.together(t, event("1"), signalRow("p", "pause", ""), event("2"))
	r.become(relay.Paused)
	want(t, &sink, "1")
	r.stop()
	r = run(t, cfg)
	r.become(relay.Paused)
	r.stop()
	s.pause(t, false)
	r = run(t, cfg)
	want(t, &sink, "1", "2")
	s.stored(t, r, 1)
	if st := r.Status(); st.State != relay.Streaming {
		t.Errorf("%+v", st)
	}
	if n := s.rows(t, "gapless.audit"); n != 2 {
		t.Errorf("%d rows of audit, want 2: %s", n, log)
	}
}

// An operator's pause is not ended by a resume that was written before it, and is by one
// that was written after.
func TestResumeOfBeforeThePause(t *testing.T) {
	t.Parallel()
	var sink memory
	s, cfg, _ := signalled(t, &sink)
	r := run(t, cfg)
	s.append(t, "k", "1")
	s.stored(t, r, 1)
	r.stop()
	s.together(t, event("2"), signalRow("early", "resume", ""), event("3"))
	s.pause(t, true)
	r = run(t, cfg)
	r.become(relay.Paused)
	s.together(t, signalRow("mark", "pause", ""), event("4"))
	s.pause(t, false) // it lets the relay go on up to the mark
	want(t, &sink, "1", "2", "3")
	r.become(relay.Paused)
	s.pause(t, true)
	s.together(t, signalRow("late", "resume", ""))
	want(t, &sink, "1", "2", "3", "4")
	r.become(relay.Streaming)
}

// While it is paused the position stays, whatever is read; what comes behind is sent
// once, in order, also when the relay is another by then.
func TestPausedRelayReadsAheadAndMovesNothing(t *testing.T) {
	t.Parallel()
	var sink memory
	s, cfg, _ := signalled(t, &sink)
	s.exec(t, "create table other (v text)")
	r := run(t, cfg)
	s.append(t, "k", "1")
	s.stored(t, r, 1)
	s.pause(t, true)
	r.become(relay.Paused)
	before := s.text(t, "select pg_current_wal_insert_lsn()::text")
	values := []string{"1"}
	for i := range 500 {
		values = append(values, fmt.Sprint("v", i))
		s.append(t, "k", values[len(values)-1])
	}
	s.exec(t, "insert into other select repeat('x', 1000) from generate_series(1, 1000)")
	s.together(t, signalRow("early", "pause", "")) // in its turn it is older than the resume
	testkit.Eventually(t, patience, func() error { // all of it was sent to the relay
		var behind bool
		err := s.pool.QueryRow(t.Context(), "select sent_lsn < pg_current_wal_lsn() from pg_stat_replication where pid = (select active_pid from pg_replication_slots where slot_name = $1)", s.slot).Scan(&behind)
		if err == nil && behind {
			err = errors.New("the relay has not read all")
		}
		return err
	})
	if n := s.rows(t, "gapless.relay_progress p join pg_replication_slots s on s.slot_name = p.slot where p.slot = '"+s.slot+
		"' and (p.resume_lsn > '"+before+"' or s.confirmed_flush_lsn > '"+before+"')"); n != 0 || len(sink.records()) != 1 {
		t.Errorf("moved past %s, %d records", before, len(sink.records()))
	}
	r.stop()
	r = run(t, cfg)
	r.become(relay.Paused)
	s.together(t, signalRow("r", "resume", ""))
	want(t, &sink, values...)
	s.stored(t, r, 500)
	r.become(relay.Streaming)
	if n := s.rows(t, "gapless.audit"); n != 2 { // the pause of before was over
		t.Errorf("%d rows of audit, want 2", n)
	}
}

// What is no signal is one warning, and events go on.
func TestSignalsThatAreNone(t *testing.T) {
	t.Parallel()
	var sink memory
	s, cfg, log := signalled(t, &sink)
	r := run(t, cfg)
	s.together(t, "begin", signalRow("rolled-back", "pause", ""), "rollback")
	s.together(t, event("1"), signalRow("a", "explode", ""), signalRow("b", "pause", "{not JSON"), signalRow("c", "pause", "[1]"), event("2"))
	s.together(t, signalRow("d", "execute-snapshot", `{"data-collections": ["public.x"]}`), signalRow("e", "resume-snapshot", ""), signalRow("f", "snapshot-window-open", ""), event("3"))
	s.together(t, signalRow("g", "log", `{"message": "here is {}"}`), signalRow("h", "resume", ""), event("4"))
	s.exec(t, "update debezium_signal set type = 'pause'")
	s.exec(t, "delete from debezium_signal")
	s.append(t, "k", "5")
	want(t, &sink, "1", "2", "3", "4", "5")
	s.stored(t, r, 5)
	text := log.String()
	warnings := map[string]int{}
	for line := range strings.Lines(text) {
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			if strings.Contains(line, "level=WARN") && strings.Contains(line, " id="+id+" ") {
				warnings[id]++
			}
		}
	}
	if fmt.Sprint(warnings) != "map[a:1 b:1 c:1 d:1]" {
		t.Errorf("warnings %v: %s", warnings, text)
	}
	if !strings.Contains(text, "match none of the outbox tables") || !strings.Contains(text, `message="here is 1/0/`) || strings.Contains(text, "rolled-back") || strings.Contains(text, "id=f") {
		t.Error(text)
	}
	if n := s.rows(t, "gapless.audit"); n != 0 {
		t.Errorf("%d rows of audit", n)
	}
}

// A signal table that is not published, or has another form, is told of; it is no table
// of events, and stops none.
func TestSignalTableThatIsNone(t *testing.T) {
	t.Parallel()
	var sink memory
	s, cfg, log := signalled(t, &sink)
	s.exec(t, "alter publication gapless drop table debezium_signal")
	s.exec(t, "alter table debezium_signal rename type to kind")
	r := run(t, cfg)
	s.append(t, "k", "1")
	want(t, &sink, "1")
	if !strings.Contains(log.String(), "ADD TABLE public.debezium_signal") {
		t.Error(log)
	}
	s.exec(t, "alter publication gapless add table debezium_signal")
	s.together(t, signalRow("p", "pause", ""), event("2"))
	want(t, &sink, "1", "2")
	s.stored(t, r, 2)
	if !strings.Contains(log.String(), "no columns id, type and data") {
		t.Error(log)
	}
	cfg.Tables = map[string]format.Format{signalTable: eventrouter.Config{}}
	if _, err := relay.New(cfg); err == nil || !strings.Contains(err.Error(), signalTable) {
		t.Errorf("events in the signal table: %v", err)
	}
	for _, bad := range []string{"nothing", ".x", "gapless.outbox"} {
		cfg.SignalTable = bad
		if _, err := relay.New(cfg); err == nil || !strings.Contains(err.Error(), "SignalTable") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// The database is away when a signal is executed: nothing behind it goes out before it
// is, and it is.
func TestSignalIsTriedAgain(t *testing.T) {
	t.Parallel()
	var sink memory
	s, cfg, log := signalled(t, &sink)
	r := run(t, cfg)
	s.exec(t, "alter table gapless.relay_control rename column signal_lsn to away")
	s.together(t, event("1"), signalRow("p", "pause", ""), event("2"))
	testkit.Eventually(t, patience, func() error {
		if !strings.Contains(log.String(), "execute signal") {
			return errors.New("it was not tried")
		}
		return nil
	})
	want(t, &sink, "1")
	s.exec(t, "alter table gapless.relay_control rename column away to signal_lsn")
	r.become(relay.Paused)
	s.pause(t, false)
	want(t, &sink, "1", "2")
}

func (s *setup) text(t *testing.T, query string) (text string) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), query).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
