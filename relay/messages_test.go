package relay_test

import (
	"fmt"
	"testing"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay/eventrouter"
)

func (s *setup) emit(t testing.TB, transactional bool, prefix, content string) {
	t.Helper()
	s.exec(t, "select pg_logical_emit_message($1::bool, $2, $3::text)", transactional, prefix, content)
}

func message(payload string) string {
	return fmt.Sprintf(`{"id": "1", "aggregatetype": "order", "aggregateid": "k", "payload": %q}`, payload)
}

// Messages with the prefix outbox are Debezium's, without any configuration; others are
// nobody's, and the library's own are something else.
func TestMessagesOfDebezium(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
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
	r := run(t, s.config(&sink))
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

// Anybody may emit a message. What text and jsonb of Postgres cannot hold is parked all
// the same, and the stream goes on.
func TestMessagesThatPostgresCannotHoldAreParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	run(t, s.config(&sink))
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
