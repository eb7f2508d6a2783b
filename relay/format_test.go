package relay_test

import (
	"testing"
)

// What Debezium 3.6 sent for these statements, in the order of their commits
// (golden records g01_default_jsonb and g02_text_payload of EventRouter's
// defaults).
func TestDebeziumDefaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, payload, values string }{
		{"g01", "jsonb", `
			('00000000-0000-4000-8000-000000000001', 'g01order', 'k1', 'OrderPlaced', '{"b": 1, "a": [1, 2.50, "x"], "u": "é中"}'),
			('00000000-0000-4000-8000-000000000002', 'g01order', 'k1', 'OrderPaid', '{}'),
			('00000000-0000-4000-8000-000000000003', 'g01order', 'k2', 'OrderPlaced', '[1,2]')`},
		{"g02", "text", `
			('00000000-0000-4000-8000-000000000001', 'g02order', 'k1', 'T', E'  {"a" : 1}\n'),
			('00000000-0000-4000-8000-000000000002', 'g02order', 'k2', 'T', 'plain words'),
			('00000000-0000-4000-8000-000000000003', 'g02order', 'k3', 'T', '')`},
		{"null", "bytea", `('00000000-0000-4000-8000-000000000001', 'nulls', 'k1', 'T', null)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			s.exec(t, "create table events (id uuid primary key, aggregatetype varchar(255) not null, aggregateid varchar(255) not null, type varchar(255) not null, payload "+c.payload+")")
			s.exec(t, "alter publication gapless add table events")
			var sink memory
			run(t, s.config(&sink))
			s.exec(t, "insert into events (id, aggregatetype, aggregateid, type, payload) values "+c.values)
			expected := map[string][]string{
				"g01":  {`{"a": [1, 2.50, "x"], "b": 1, "u": "é中"}`, "{}", "[1, 2]"},
				"g02":  {"  {\"a\" : 1}\n", "plain words", ""},
				"null": {""},
			}[c.name]
			want(t, &sink, expected...)
			for i, r := range sink.records() {
				id := "00000000-0000-4000-8000-00000000000" + string(rune('1'+i))
				if len(r.headers) != 1 || r.header("id") != id || r.null != (c.name == "null") {
					t.Errorf("record %d: %+v", i, r)
				}
			}
		})
	}
}

func TestDeadLettersAreRelayed(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var sink memory
	r := run(t, s.config(&sink))
	s.exec(t, `insert into gapless.dead_letter
		(consumer, event_id, topic, partition, "offset", record_timestamp, key, value, headers, reason, attempts, first_failed_at, last_failed_at)
		values ('inventory', gen_random_uuid(), 'outbox.event.order', 3, 42, '2026-11-23 00:00:00Z', '\xff00', '\x00ff', '[["z", "AQ=="], ["a", null]]', 'undecodable', 5, now(), now())`)
	want(t, &sink, "\x00\xff")
	got := sink.records()[0]
	if got.topic != "dlq.gapless.inventory.outbox.event.order" || got.key != "\xff\x00" || got.timestamp.Year() != 2026 ||
		got.headers[0].Key != "z" || got.headers[1].Value != nil || got.header("gapless_dlq_offset") != "42" {
		t.Errorf("%+v", got)
	}
	s.stored(t, r, 1)
}
