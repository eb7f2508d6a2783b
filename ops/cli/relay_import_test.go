package cli_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/ops/cli"
	"github.com/gapless/gapless/relay/eventrouter"
)

// connector is a configuration as Connect has it.
func connector(options map[string]string) map[string]string {
	all := golden.Base()
	maps.Copy(all, map[string]string{
		"name": "outbox-connector", "database.hostname": "db", "database.port": "5433", "database.user": "dbz", "database.password": "s3cret",
		"database.dbname": "shop", "topic.prefix": "dbz", "table.include.list": "public.outbox", "slot.name": "dbz",
	})
	maps.Copy(all, options)
	return all
}

// decoding are the options of a connector whose messages are events.
func decoding(options map[string]string) map[string]string {
	all := map[string]string{"transforms": "decode,outbox", "transforms.decode.type": eventrouter.DecodeMessages}
	maps.Copy(all, options)
	return all
}

// Every set of options that the corpus has comes through the file as the router that
// the connector would have been.
func TestImportedFileMakesTheSameRouter(t *testing.T) {
	t.Parallel()
	for _, c := range golden.Cases() {
		options := connector(c.Options)
		text, err := json.Marshal(map[string]any{"name": c.Name, "config": options})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := cli.Import(t.Context(), bytes.NewReader(text), &out); err != nil {
			t.Errorf("case %s: %v", c.Name, err)
			continue
		}
		if strings.Contains(out.String(), "s3cret") {
			t.Errorf("case %s: the password is printed", c.Name)
		}
		path := filepath.Join(t.TempDir(), "relay.yaml")
		if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		tables, err := cli.Tables(path)
		if err != nil {
			t.Errorf("case %s: %v\n%s", c.Name, err, out.String())
			continue
		}
		want, _, err := eventrouter.FromConnector(options)
		if err != nil {
			t.Fatal(err)
		}
		if got := tables["public.outbox"]; !reflect.DeepEqual(got, want) {
			t.Errorf("case %s: router\n%+v\nwant\n%+v", c.Name, got, want)
		}
		messages, err := cli.Messages(path)
		if err != nil || c.Prefix() == "" && len(messages) > 0 {
			t.Errorf("case %s: messages %+v, %v", c.Name, messages, err)
		}
		if c.Prefix() != "" && !reflect.DeepEqual(messages, map[string]eventrouter.Config{c.Prefix(): want}) {
			t.Errorf("case %s: messages\n%+v\nwant\n%+v", c.Name, messages, want)
		}
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	server := `
debezium.sink.type=kafka
debezium.sink.kafka.producer.bootstrap.servers=k1:9092,k2:9092
debezium.source.connector.class=io.debezium.connector.postgresql.PostgresConnector
debezium.source.plugin.name=pgoutput
debezium.source.database.hostname=db
debezium.source.database.dbname=shop
debezium.source.topic.prefix=tutorial
debezium.source.table.include.list=inventory.outbox_event
debezium.transforms=outbox
debezium.transforms.outbox.type=io.debezium.transforms.outbox.EventRouter
debezium.transforms.outbox.predicate=isOutbox
debezium.predicates=isOutbox
debezium.predicates.isOutbox.type=org.apache.kafka.connect.transforms.predicates.TopicNameMatches
debezium.predicates.isOutbox.pattern=.*outbox.*
debezium.transforms.outbox.route.topic.replacement=events.${routedByValue}
debezium.format.value=json
debezium.format.value.schemas.enable=false
quarkus.log.level=INFO
`
	r := runContext(t, t.Context(), nil, strings.NewReader(server), "relay", "import", "-", "--topic-prefix", "shadow.", "--slot", "mine")
	if r.code != 0 {
		t.Fatalf("code %d: %s", r.code, r.stderr)
	}
	for _, want := range []string{
		"slot: mine", "table: inventory.outbox_event", "database_url: postgres://db/shop", "- k1:9092", "replacement: events.${routedByValue}",
		"topic_prefix: shadow.", "converter: json", "extended_headers: true", "# quarkus.log.level: ", "# transforms.outbox.predicate: is left out",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
}

// A number of JSON is what was written, and an address of IPv6 gets its brackets.
func TestImportTakesJSONAsItIsWritten(t *testing.T) {
	t.Parallel()
	options := map[string]any{}
	for k, v := range connector(map[string]string{"database.hostname": "2001:db8::1"}) {
		options[k] = v
	}
	options["heartbeat.interval.ms"] = 3_600_000
	delete(options, "database.port")
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	r := runContext(t, t.Context(), nil, strings.NewReader(string(text)), "relay", "import", "-")
	if r.code != 0 || !strings.Contains(r.stdout, "postgres://dbz@[2001:db8::1]/shop") || !strings.Contains(r.stdout, "1h0m0s") {
		t.Errorf("code %d: %s\n%s", r.code, r.stderr, r.stdout)
	}
	r = runContext(t, t.Context(), nil, strings.NewReader(string(text)+"{}"), "relay", "import", "-")
	if r.code == 0 || !strings.Contains(r.stderr, "more follows") {
		t.Errorf("two objects: code %d: %s", r.code, r.stderr)
	}
}

// What would make other records is refused by its name, all of it at once.
func TestImportRefusesByName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options map[string]string
		want    []string
	}{
		"another transform": {map[string]string{"transforms": "outbox,drop", "transforms.drop.type": "org.apache.kafka.connect.transforms.ReplaceField$Value"}, []string{"transforms.drop.type", "ReplaceField"}},
		"no router":         {map[string]string{"transforms": ""}, []string{"transforms", "EventRouter"}},
		"another converter": {map[string]string{"value.converter": "io.confluent.connect.avro.AvroConverter"}, []string{"value.converter", "AvroConverter"}},
		"two at once":       {map[string]string{"plugin.name": "wal2json", "time.precision.mode": "connect"}, []string{"plugin.name", "wal2json", "time.precision.mode"}},
		"unknown":           {map[string]string{"no.such.option": "1", "transforms.outbox.no.such": "1"}, []string{"no.such.option", "transforms.outbox.no.such"}},
		"a pattern":         {map[string]string{"table.include.list": "public.outbox_.*"}, []string{"table.include.list", "schema.table"}},
		"no tables":         {map[string]string{"table.include.list": ""}, []string{"table.include.list"}},
		"another source":    {map[string]string{"connector.class": "io.debezium.connector.mysql.MySqlConnector"}, []string{"connector.class", "Postgres"}},
		"only of Java":      {map[string]string{"transforms.outbox.route.topic.regex": "[a-z&&[^b]]"}, []string{"intersection", "[a-z&&[^b]]"}},
		"no such group":     {map[string]string{"transforms.outbox.route.topic.replacement": "${nope}"}, []string{"${nope}", "no group"}},
		"no such choice":    {map[string]string{"transforms.outbox.table.op.invalid.behavior": "explode"}, []string{"table.op.invalid.behavior", "explode", "warn"}},
		"placement":         {map[string]string{"transforms.outbox.table.fields.additional.placement": "a:body"}, []string{"body", "header"}},
		"worker's":          {map[string]string{"value.converter": ""}, []string{"value.converter", "worker"}},
		"dropped slot":      {map[string]string{"slot.drop.on.stop": "true"}, []string{"slot.drop.on.stop"}},
		"messages unnamed":  {decoding(nil), []string{"message.prefix.include.list", "name the prefixes"}},
		"messages pattern":  {decoding(map[string]string{"message.prefix.include.list": "out.*"}), []string{"message.prefix.include.list", "out.*"}},
		"messages excluded": {decoding(map[string]string{"message.prefix.include.list": "outbox", "message.prefix.exclude.list": "x"}), []string{"message.prefix.exclude.list"}},
		"decoded too late":  {decoding(map[string]string{"message.prefix.include.list": "outbox", "transforms": "outbox,decode"}), []string{"decode", "behind"}},
		"decoded otherwise": {decoding(map[string]string{"message.prefix.include.list": "outbox", "transforms.decode.field.name.adjustment.mode": "avro", "transforms.decode.nope": "1"}), []string{"transforms.decode.field.name.adjustment.mode", "transforms.decode.nope"}},
		"no interval":       {map[string]string{"heartbeat.interval.ms": "soon"}, []string{"heartbeat.interval.ms", "soon"}},
		"older prefix":      {map[string]string{"heartbeat.interval.ms": "10", "heartbeat.topics.prefix": "beats"}, []string{"heartbeat.topics.prefix", "topic.heartbeat.prefix"}},
		"no heartbeat": {
			map[string]string{"heartbeat.interval.ms": "10", "value.converter": "io.debezium.converters.BinaryDataConverter"},
			[]string{"heartbeat.interval.ms", "value of a heartbeat"},
		},
		"another channel":  {map[string]string{"signal.enabled.channels": "source,kafka", "signal.data.collection": "public.signal"}, []string{"signal.enabled.channels", "kafka"}},
		"signals, pattern": {map[string]string{"signal.data.collection": "public.sig.*"}, []string{"signal.data.collection", "schema.table"}},
		"not a boolean":    {map[string]string{"transforms.outbox.table.expand.json.payload": "maybe"}, []string{"table.expand.json.payload", "maybe"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := json.Marshal(connector(c.options))
			if err != nil {
				t.Fatal(err)
			}
			r := runContext(t, t.Context(), nil, strings.NewReader(string(text)), "relay", "import", "-")
			if r.code != 2 || r.stdout != "" {
				t.Errorf("code %d, stdout %q", r.code, r.stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("no %q in %q", want, r.stderr)
				}
			}
		})
	}
	for text, want := range map[string]string{`{"a": `: "JSON", `{"name": {"a": 1}}`: "name", "": "table.include.list"} {
		if r := runContext(t, t.Context(), nil, strings.NewReader(text), "relay", "import", "-"); r.code != 2 || !strings.Contains(r.stderr, want) {
			t.Errorf("%q: code %d: %s", text, r.code, r.stderr)
		}
	}
}

// Prefixes of messages are those of the file and of flags; the file's have its options.
func TestPrefixesOfMessages(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "relay.yaml")
	text := "version: 1\nrelays: [{tables: [{messages: gapless.outbox, format: native}, {messages: outbox, format: debezium, null_fields: true}]}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]eventrouter.Config{"gapless.outbox": {}, "outbox": {NullFields: true}, "audit": {}}
	if got, err := cli.Messages(path, "outbox", "audit"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// The name of an option cannot end the comment that it is noted in.
func TestImportedNamesStayInComments(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
		text, err := json.Marshal(map[string]string{
			"debezium.sink.type": "kafka", "debezium.source.connector.class": "io.debezium.connector.postgresql.PostgresConnector",
			"debezium.source.plugin.name": "pgoutput", "debezium.source.database.dbname": "shop", "debezium.source.topic.prefix": "p",
			"debezium.source.table.include.list": "public.outbox",
			"debezium.transforms":                "outbox", "debezium.transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
			"quarkus.x" + end + "kafka:" + end + "  tls: {insecure: true}" + end + "#": "y",
		})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "connector.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r := run(t, nil, "relay", "import", path).succeeds(t)
		var file struct{ Kafka map[string]any }
		if err := yaml.Unmarshal([]byte(r.stdout), &file); err != nil || len(file.Kafka) > 0 || !strings.Contains(r.stdout, "insecure") {
			t.Errorf("%q: %v, %v from\n%s", end, file.Kafka, err, r.stdout)
		}
	}
}
