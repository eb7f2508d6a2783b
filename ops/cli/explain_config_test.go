//go:build unix

package cli_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/cli"
)

type explainedFile struct {
	Slot      string
	Heartbeat *struct{ Interval, Topic string }
	Tables    []struct {
		Table, Format, Topic, Key, Value, Partition, Timestamp, Updates, Retention string
		Headers                                                                    []string
		OnFault                                                                    map[string]string `json:"on_fault"`
		ExampleOf                                                                  string            `json:"example_of"`
		Example                                                                    *struct {
			Sent  bool
			Topic string
			Key   *string
			Text  string
		}
	}
}

const explainedConfig = `version: 1
relays:
- slot: shop
  retention: 7d
  on_fault: {too_large: skip, refused: halt}
  signal_table: public.signal
  heartbeat: {interval: 10s}
  tables:
  - {table: gapless.outbox, format: native}
  - table: public.shop
    format: debezium
    server_name: dbz
    columns: {id: event, key: k, timestamp: at}
    route: {by: kind, regex: "(?<what>.*)r", replacement: "shop.${what}"}
    placement: ["kind:header:eventType", "shard:partition", "k:envelope:account"]
    value: {converter: json}
    updates: fatal
    retention: {after: 24h, column: at}
`

func TestExplainAConfiguration(t *testing.T) {
	t.Parallel()
	file := write(t, "relay.yaml", explainedConfig)
	got := jsonOf[explainedFile](t, run(t, nil, "explain", "--config", file, "-o", "json"))
	if len(got.Tables) != 2 || got.Slot != "shop" || got.Heartbeat == nil || got.Heartbeat.Topic != "__debezium-heartbeat.dbz" {
		t.Fatalf("%+v", got)
	}
	own, shop := got.Tables[0], got.Tables[1]
	if own.Format != "native" || own.Topic != "outbox.event.<aggregatetype>" || !strings.Contains(own.Retention, "7d") || own.Example == nil || !own.Example.Sent ||
		own.Example.Topic != "outbox.event.order" || !strings.Contains(own.ExampleOf, "made-up") {
		t.Errorf("%+v %+v", own, own.Example)
	}
	for what, c := range map[string][2]string{
		"topic": {shop.Topic, "shop.${what}, where (?<what>.*)r matches <kind>"}, "key": {shop.Key, "column k"}, "value": {shop.Value, "account: column k"},
		"partition": {shop.Partition, "column shard"}, "timestamp": {shop.Timestamp, "column at"}, "updates": {shop.Updates, "exit code 3"},
		"retention": {shop.Retention, "24h0m0s after the time in column at"}, "headers": {strings.Join(shop.Headers, "|"), "eventType: column kind"},
		"too_large": {shop.OnFault["too_large"], "skip"}, "refused": {shop.OnFault["refused"], "halt"}, "bad_topic": {shop.OnFault["bad_topic"], "block-key"},
	} {
		if !strings.Contains(c[0], c[1]) {
			t.Errorf("%s is %q, want %q in it", what, c[0], c[1])
		}
	}
	if x := shop.Example; x == nil || !x.Sent || x.Topic != "shop.orde" || x.Key == nil || *x.Key != "order-1" || !strings.Contains(x.Text, `"account":"order-1"`) {
		t.Errorf("%+v: %+v", shop, x)
	}
	text := run(t, nil, "explain", "--config", file).succeeds(t).stdout
	for _, want := range []string{"public.shop", "public.signal", "every 10s to __debezium-heartbeat.dbz", "too_large: parked, and later rows go on", "refused: the relay ends"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	run(t, nil, "explain").failsWith(t, cli.ExitUsage, "nothing to explain")
}

// Where there is a database its tables are explained too, with rows that are there.
func TestExplainAConfigurationWithItsDatabase(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	statements(t, pool, `create table shop (event bigint primary key, kind text, k text, payload jsonb, at timestamptz, shard int);
insert into shop values (1, 'order', 'old', '{}', now(), 1);
insert into shop values (2, 'order', 'new', '{"a": 1}', now(), 1);
create table plain (id uuid, aggregatetype text, aggregateid text, type text, payload jsonb);
create table public.signal (id text, type text, data text);
alter publication gapless add table shop, plain, public.signal`)
	file := write(t, "relay.yaml", explainedConfig)
	got := jsonOf[explainedFile](t, run(t, nil, "explain", "--config", file, "--database-url", db.URL, "-o", "json"))
	examples := map[string]string{}
	for _, table := range got.Tables {
		examples[table.Table] = table.ExampleOf
		if table.Table == "public.shop" && (table.Example == nil || table.Example.Key == nil || *table.Example.Key != "new") {
			t.Errorf("%+v", table.Example)
		}
	}
	if len(examples) != 4 || examples["public.shop"] != "the row with the highest id" || !strings.Contains(examples["public.plain"], "has no row") || examples["gapless.dead_letter"] == "" {
		t.Errorf("%v", examples)
	}
	r := run(t, nil, "explain", "--config", file, "--database-url", "postgres://u@"+refused+"/x", "-o", "json")
	if got := jsonOf[explainedFile](t, r); len(got.Tables) != 2 || !strings.Contains(got.Tables[1].ExampleOf, "cannot be reached") || !strings.Contains(r.stderr, "made up") {
		t.Errorf("%+v, %s", got, r.stderr)
	}
	if got := jsonOf[explainedFile](t, run(t, nil, "explain", "--database-url", db.URL, "-o", "json")); len(got.Tables) != 5 {
		t.Errorf("without a file: %+v", got)
	}
}

// Whatever the corpus has of options can be explained, and a made-up row becomes a record
// where the options ask for no column of another type.
func TestExplainAConnector(t *testing.T) {
	t.Parallel()
	sent := 0
	for _, c := range golden.Cases() {
		text, err := json.Marshal(connector(c.Options))
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := cli.ExplainConnector(t.Context(), bytes.NewReader(text), &out); err != nil {
			t.Fatalf("case %s: %v", c.Name, err)
		}
		got := jsonOf[explainedFile](t, result{stdout: out.String()})
		if len(got.Tables) != 1 || got.Tables[0].Topic == "" || got.Tables[0].Example == nil {
			t.Errorf("case %s: %+v", c.Name, got)
			continue
		}
		if got.Tables[0].Example.Sent {
			sent++
		}
	}
	if sent < len(golden.Cases())*9/10 {
		t.Errorf("%d of %d made-up rows become a record", sent, len(golden.Cases()))
	}
	bad := write(t, "connector.json", `{"no.such": "1"}`)
	run(t, nil, "explain", "--connector", bad).failsWith(t, cli.ExitUsage, "no.such")
}
