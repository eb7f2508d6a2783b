package relay_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// What is said that a row becomes is what it becomes.
func TestExplainIsWhatIsSent(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	s.exec(t, `create type colour as enum ('red', 'green')`)
	s.exec(t, `create table "Shop" ("Event" uuid, kind text, k bigint, body jsonb, c colour, n numeric(8,2) default 7, at timestamptz)`)
	s.exec(t, `alter publication gapless add table "Shop"`)
	tables := map[string]format.Format{"public.Shop": eventrouter.Config{
		EventID: "Event", EventKey: "k", RouteBy: "kind", Payload: "body", Timestamp: "at",
		Placements: []eventrouter.Placement{{Column: "c", Where: eventrouter.Header}, {Column: "n", Where: eventrouter.Header, Alias: "amount"}},
	}}
	var sink memory
	cfg := s.config(&sink)
	cfg.Tables = tables
	run(t, cfg)
	const id, other = "0199c0de-0000-7000-8000-000000000001", "0199c0de-0000-7000-8000-000000000002"
	s.exec(t, `insert into "Shop" values ($1, 'a', 42, '{"x": 1}', 'green', null, '2026-01-02 03:04:05.678+00')`, id)
	s.exec(t, "insert into gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers) values ($1, 'order', 'k', 3, 'T', 'v', '{\"h\": \"1\"}')", other)
	want(t, &sink, `{"x": 1}`, "v")
	for i, c := range []struct {
		table string
		of    relay.RowOf
	}{
		{"public.Shop", relay.RowOf{ID: id}},
		{"gapless.outbox", relay.RowOf{ID: other}},
		{"public.Shop", relay.RowOf{JSON: []byte(`{"Event": "` + id + `", "kind": "a", "k": 42, "body": {"x": 1}, "c": "green", "at": "2026-01-02T03:04:05.678Z"}`)}},
	} {
		list, err := relay.Explain(t.Context(), s.pool, tables, c.table, c.of)
		if err != nil || len(list) != 1 || list[0].Fault != nil {
			t.Errorf("%s: %+v, %v", c.table, list, err)
			continue
		}
		got, sent := &list[0].Record, sink.records()[i%2]
		same := slices.EqualFunc(got.Headers, sent.headers, func(a, b format.Header) bool {
			return a.Key == b.Key && (string(a.Value) == string(b.Value) || a.Key == "gapless_position")
		})
		if got.Topic != sent.topic || string(got.Key) != sent.key || string(got.Value) != sent.value || !same || !got.Timestamp.Equal(sent.timestamp) {
			t.Errorf("%s: explained as %+v, sent as %+v", c.table, got, sent)
		}
	}
	list, err := relay.Explain(t.Context(), s.pool, tables, "public.Shop", relay.RowOf{JSON: []byte(`{"k": 1}`)})
	if err != nil || len(list) != 1 || list[0].Fault == nil || list[0].Fault.Reason != format.BadTopic {
		t.Errorf("a row without a topic: %+v, %v", list, err)
	}
	if _, err := relay.Explain(t.Context(), s.pool, tables, "public.Shop", relay.RowOf{ID: other}); !errors.Is(err, relay.ErrNoRow) {
		t.Errorf("no row: %v", err)
	}
	if _, err := relay.Explain(t.Context(), s.pool, map[string]format.Format{"a.b": nil}, "a.b", relay.RowOf{ID: id}); !errors.Is(err, relay.ErrLeftOut) {
		t.Errorf("left out: %v", err)
	}
	for _, table := range []string{"public.nothing", "nothing"} {
		if _, err := relay.Explain(t.Context(), s.pool, nil, table, relay.RowOf{ID: id}); err == nil {
			t.Errorf("%s is explained", table)
		}
	}
}
