package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

func (s *setup) emit(t testing.TB, transactional bool, prefix, content string) {
	t.Helper()
	s.exec(t, "select pg_logical_emit_message($1::bool, $2, $3::text)", transactional, prefix, content)
}

func message(payload string) string {
	return fmt.Sprintf(`{"id": "1", "aggregatetype": "order", "aggregateid": "k", "payload": %q}`, payload)
}

// Any login may emit a message. Unless the relay is told of a prefix none is sent, and
// none even comes: a row behind one is still the first change of its transaction.
func TestNoMessageIsSentUnlessConfigured(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	run(t, s.config(&sink))
	reader := s.db.LoginPool(t, pgtest.Readonly)
	for _, prefix := range []string{"outbox", "gapless.outbox", "other"} {
		if _, err := reader.Exec(t.Context(), "select pg_logical_emit_message(true, $1, $2::text)", prefix, message("forged")); err != nil {
			t.Fatal(err)
		}
	}
	if err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `with m as materialized (select pg_logical_emit_message(true, 'outbox', 'no object'))
			insert into gapless.outbox (aggregatetype, aggregateid, type, payload) select 'order', 'k', 'T', 'row' from m`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want(t, &sink, "row")
	if got := sink.records()[0].position.Index; got != 0 {
		t.Errorf("the row is change %d of its transaction", got)
	}
	if got := s.count(t, "parked"); got != 0 {
		t.Errorf("%d parked", got)
	}
}

// withMessages is a configuration that sends those of Debezium's habit and the library's.
func (s *setup) withMessages(sink relay.Sink) relay.Config {
	config := s.config(sink)
	config.Messages = map[string]eventrouter.Config{"outbox": {}, relay.EmittedPrefix: {}}
	return config
}

// behind writes rows behind a message, in one transaction.
func (s *setup) behind(t testing.TB, content string, values ...string) {
	t.Helper()
	table, payload := "gapless.outbox", "convert_to(v, 'UTF8')"
	if s.kafka != nil && s.kafka.login != s.db.URL {
		table, payload = ownTable, "v"
	}
	s.exec(t, "with m as materialized (select pg_logical_emit_message(true, 'outbox', $1::text)) insert into "+table+
		" (aggregatetype, aggregateid, type, payload) select 'order', v, 'T', "+payload+" from m, unnest($2::text[]) with ordinality as u (v, n) order by n", content, values)
}

func TestEventsOfTheLibraryTakeNoOptions(t *testing.T) {
	t.Parallel()
	var sink memory
	_, err := relay.New(relay.Config{DatabaseURL: "postgres://db", Sink: &sink, Messages: map[string]eventrouter.Config{relay.EmittedPrefix: {NullFields: true}, "": {}}})
	if err == nil || !strings.Contains(err.Error(), "Messages gapless.outbox") || !strings.Contains(err.Error(), "prefix is empty") {
		t.Errorf("error %v", err)
	}
}

// turned runs f with messages turned on, and turned off, in both states.
func turned(t *testing.T, f func(t *testing.T, s *setup, before bool)) {
	t.Helper()
	for name, before := range map[string]bool{"on": false, "off": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(t *testing.T, s *setup) { f(t, s, before) })
		})
	}
}

func (s *setup) messagesIf(messages bool, sink *memory) relay.Config {
	if messages {
		return s.withMessages(sink)
	}
	return s.config(sink)
}

// Half of a transaction is sent when messages are turned on or off, which changes the
// places of its rows: it begins again, and no row of it is skipped.
func TestMessagesTurnedOnAndOffInMidTransaction(t *testing.T) {
	t.Parallel()
	turned(t, messagesTurnedInMidTransaction)
}

func messagesTurnedInMidTransaction(t *testing.T, s *setup, before bool) {
	t.Helper()
	var first, second memory
	first.hold()
	cfg := s.messagesIf(before, &first)
	cfg.StopTimeout = 200 * time.Millisecond
	r := run(t, cfg)
	s.behind(t, message("m"), "1", "2", "3")
	rows, whole := []string{"1", "2", "3"}, []string{"m", "1", "2", "3"}
	if before {
		want(t, &first, whole...)
	} else {
		want(t, &first, rows...)
	}
	first.ackFirst(2)
	s.halfSent(t, 2)
	r.stop()
	r = run(t, s.messagesIf(!before, &second))
	if before {
		want(t, &second, rows...)
	} else {
		want(t, &second, whole...)
	}
	s.stored(t, r, 3)
}

// A row that was parked is found again by its place. While it is still to come the
// places stay: messages are not turned on, and those that are on are still read.
func TestMessagesTurnedOnAndOffBehindAHeldRow(t *testing.T) {
	t.Parallel()
	turned(t, messagesTurnedBehindAHeldRow)
}

func messagesTurnedBehindAHeldRow(t *testing.T, s *setup, before bool) {
	t.Helper()
	var first, second memory
	first.refuse = func(x sent) error {
		if x.value == "poison" {
			return &format.Fault{Reason: format.TooLarge, Detail: "a test"}
		}
		return nil
	}
	first.hold()
	cfg := s.messagesIf(before, &first)
	cfg.StopTimeout = 200 * time.Millisecond
	r := run(t, cfg)
	s.append(t, "k", "unacknowledged")
	s.behind(t, "no object", "poison", "sent")
	want(t, &first, "unacknowledged", "sent")
	parked := 1
	if before {
		parked = 2
	}
	testkit.Eventually(t, patience, func() error {
		if got := s.count(t, "parked"); got != parked {
			return fmt.Errorf("%d parked, want %d", got, parked)
		}
		return nil
	})
	r.stop()
	r = run(t, s.messagesIf(!before, &second))
	if !before {
		refusal(t, r.ended(), "messages are on now")
		r = run(t, s.messagesIf(before, &second))
	}
	want(t, &second, "unacknowledged", "sent")
	s.stored(t, r, 2)
	if got := s.count(t, "parked"); got != parked {
		t.Errorf("%d parked, want %d", got, parked)
	}
	r.stop()
	// Nothing is left that has a place: now it changes.
	run(t, s.messagesIf(!before, &second))
	s.behind(t, message("m"), "last")
	index := int64(0)
	if !before {
		want(t, &second, "unacknowledged", "sent", "m", "last")
		index = 1
	} else {
		want(t, &second, "unacknowledged", "sent", "last")
	}
	all := second.records()
	if got := all[len(all)-1].position.Index; got != index {
		t.Errorf("the row is change %d of its transaction, want %d", got, index)
	}
}

// Messages with the prefix outbox are Debezium's; others are nobody's, and the library's
// own are something else.
// Messages are in no table, so nothing could tell that the slot was moved past some, but
// that the relay itself never moves it past its record.
func TestSlotMovedOverMessagesIsRefused(t *testing.T) {
	t.Parallel()
	inBoth(t, slotMovedOverMessagesIsRefused)
}

func slotMovedOverMessagesIsRefused(t *testing.T, s *setup) {
	t.Helper()
	var sink memory
	cfg := s.config(&sink)
	r := run(t, cfg)
	s.append(t, "k", "1")
	want(t, &sink, "1")
	s.idled(t, r) // with messages it would not
	r.stop()
	cfg.Messages = s.withMessages(&sink).Messages
	for range 2 { // the second finds what the first has left
		r = run(t, cfg)
		r.become(relay.Streaming)
		testkit.Eventually(t, patience, func() error {
			s.exec(t, "select pg_logical_emit_message(false, 'other', 'wal')")
			switch st := r.Status(); {
			case st.Confirmed > st.Stored:
				t.Fatalf("%+v", st)
			case st.Done <= st.Stored:
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
		r.stop()
	}
	s.emit(t, true, "outbox", message("lost"))
	s.exec(t, "set synchronous_commit = on; select pg_logical_emit_message(true, 'flush', '')")
	s.exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", s.slot)
	refusal(t, run(t, cfg).ended(), "where a relay of logical messages never moves it")
	want(t, &sink, "1")
}

func TestMessagesOfDebezium(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.withMessages(&sink))
	s.emit(t, true, "outbox", message("1"))
	s.emit(t, true, "other", message("not this"))
	s.emit(t, false, "outbox", message("nor this, which is of no transaction"))
	s.emit(t, true, "gapless.outbox", `{"id":"0199c0de-0000-7000-8000-000000000001","aggregatetype":"order","aggregateid":"k","type":"T","payload":"Mg=="}`)
	s.append(t, "k", "3")
	s.emit(t, true, "outbox", message("4"))
	want(t, &sink, "1", "2", "3", "4")
	got := sink.records()[0]
	if got.topic != "outbox.event.order" || got.key != "k" || got.header("id") != "1" || len(got.headers) != 1 {
		t.Errorf("%+v", got)
	}
	s.stored(t, r, 4)
	r.stop()

	// After a restart none comes again, and a named prefix takes the place of outbox.
	config := s.config(&sink)
	config.Messages = map[string]eventrouter.Config{"audit": {TopicReplacement: "audit"}}
	run(t, config)
	s.emit(t, true, "outbox", message("no more"))
	s.emit(t, true, "audit", message("5"))
	want(t, &sink, "1", "2", "3", "4", "5")
	if got := sink.records()[4].topic; got != "audit" {
		t.Errorf("topic %s", got)
	}
}

// A message that cannot be sent is parked with its content, and made again from it.
func TestMessageOfDebeziumIsParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.withMessages(&sink))
	s.emit(t, true, "outbox", `{"id": "1", "aggregatetype": "order", "aggregateid": "k", "payload": null}`)
	s.emit(t, true, "outbox", message("waits for its key"))
	s.emit(t, true, "outbox", "no object")
	s.emit(t, true, "outbox", `{"id": "2", "aggregatetype": "order", "aggregateid": "l", "payload": "another key"}`)
	want(t, &sink, "another key")
	testkit.Eventually(t, patience, func() error {
		if got := s.count(t, "parked", "waiting"); got != 3 {
			return fmt.Errorf("%d rows parked or waiting", got)
		}
		return nil
	})
	s.stored(t, r, 4)
	r.stop()
	config := s.config(&sink)
	config.Messages = map[string]eventrouter.Config{"outbox": {NullFields: true}}
	run(t, config)
	s.finished(t, s.request(t, "redrive"))
	want(t, &sink, "another key", "", "waits for its key")
	if got := s.count(t, "parked"); got != 1 {
		t.Errorf("%d rows parked", got)
	}
}

// Who may emit a message may put anything into it. What text and jsonb of Postgres cannot hold is parked all
// the same, and the stream goes on.
func TestMessagesThatPostgresCannotHoldAreParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	run(t, s.withMessages(&sink))
	const rest = `,"id":"0199c0de-0000-7000-8000-000000000001","type":"T","payload":"Mg=="}`
	contents := map[string][]string{
		"gapless.outbox": {
			`{"aggregatetype":"a\u0000b","aggregateid":"1"` + rest,
			`{"aggregatetype":"order","aggregateid":"2","headers":{"h\u0000":"v"}` + rest,
			`{"aggregatetype":"no topic","aggregateid":"k\u0000"` + rest,
		},
		"outbox": {
			`{"id": "1", "aggregatetype": "half \ud800", "aggregateid": "3", "payload": "p"}`,
			`{"id": "1", "aggregatetype": "no topic", "aggregateid": "\ud800", "payload": "p"}`,
			`{"id": "1", "aggregatetype": "nul \u0000", "aggregateid": "4", "payload": "p"}`,
		},
	}
	for prefix, all := range contents {
		for _, content := range all {
			s.emit(t, true, prefix, content)
		}
	}
	s.append(t, "k", "goes on")
	want(t, &sink, "goes on")
	testkit.Eventually(t, patience, func() error {
		if got := s.count(t, "parked"); got != 6 {
			return fmt.Errorf("%d rows parked", got)
		}
		return nil
	})
}

func (s *setup) count(t testing.TB, statuses ...string) (n int) {
	t.Helper()
	if s.kafka != nil {
		return s.countInKafka(t, statuses)
	}
	if err := s.pool.QueryRow(t.Context(), "select count(*) from gapless.parked where slot = $1 and status = any($2)", s.slot, statuses).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
