package relay_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// Where partitions are published by their own names, a replay is of their table all the same:
// by its options, and without the keys of it that wait.
func TestReplayOfPartitions(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, "create schema app; create table app.events (seq bigint generated always as identity, id text, aggregatetype text, aggregateid text, type text, payload text, day int) partition by list (day)")
	s.exec(t, "create table app.events_1 partition of app.events for values in (1)")
	s.exec(t, "create publication parts for table app.events with (publish = 'insert')")
	s.exec(t, "grant usage on schema app to gapless_relay; grant select on app.events, app.events_1 to gapless_relay")
	own := *s
	own.slot = s.db.Slot(t, "own")
	stream, sink := memory{refuse: poison}, memory{refuse: poison}
	cfg := own.config(&stream)
	cfg.Publication = "parts"
	cfg.Tables = map[string]format.Format{"app.events": eventrouter.Config{TopicReplacement: "mine.${routedByValue}"}}
	run(t, cfg)
	for key, values := range map[string][]string{"k": {"poison", "2"}, "free": {"3"}} {
		for _, v := range values {
			s.exec(t, "insert into app.events (id, aggregatetype, aggregateid, type, payload, day) values ($1, 'order', $2, 'T', $1, 1)", v, key)
		}
	}
	want(t, &stream, "3")
	wantParked(t, &own, "parked k poison too_large", "waiting k 2 waiting")
	replayer := own.replayer(t, &sink, func(c *relay.ReplayConfig) { c.Tables = cfg.Tables })
	_, err := replayer.Plan(t.Context(), relay.ReplayRequest{Table: "app.events_1", OrderBy: "seq"})
	if !errors.Is(err, relay.ErrReplayInput) || !strings.Contains(err.Error(), "app.events") {
		t.Errorf("of a partition: %v", err)
	}
	request := relay.ReplayRequest{Table: "app.events", OrderBy: "seq"}
	testkit.Eventually(t, patience, func() error {
		if plan, err := replayer.Plan(t.Context(), request); err != nil || plan.Rows != 3 {
			return fmt.Errorf("%+v, %w", plan, err)
		}
		return nil
	})
	replayAll(t, replayer, request)
	if got := sink.records(); len(got) != 1 || got[0].value != "3" || got[0].topic != "mine.order" {
		t.Errorf("sent %+v", got)
	}
}
