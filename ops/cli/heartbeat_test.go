//go:build unix

package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/cli"
)

// imported writes the file that 'relay import' makes of a connector's options.
func imported(t *testing.T, options map[string]string, args ...string) (path, text string) {
	t.Helper()
	in, err := json.Marshal(connector(options))
	if err != nil {
		t.Fatal(err)
	}
	r := runContext(t, t.Context(), nil, strings.NewReader(string(in)), append([]string{"relay", "import", "-"}, args...)...).succeeds(t)
	return write(t, "relay.yaml", r.stdout), r.stdout
}

func TestHeartbeatsAreImported(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		options map[string]string
		args    []string
		want    []string // interval, prefix, topic
	}{
		"none":         {nil, nil, []string{"0s", "__debezium-heartbeat", ""}},
		"default":      {map[string]string{"heartbeat.interval.ms": "10000"}, nil, []string{"10s", "__debezium-heartbeat", ""}},
		"prefix":       {map[string]string{"heartbeat.interval.ms": "500", "topic.heartbeat.prefix": "beats"}, nil, []string{"500ms", "beats", ""}},
		"older prefix": {map[string]string{"heartbeat.interval.ms": "500", "topic.heartbeat.prefix": "b", "heartbeat.topics.prefix": "c"}, nil, []string{"500ms", "b", ""}},
		"name":         {map[string]string{"heartbeat.interval.ms": "500", "topic.heartbeat.name": "b"}, nil, []string{"500ms", "__debezium-heartbeat", "b"}},
		"beside": {
			map[string]string{"heartbeat.interval.ms": "500"},
			[]string{"--topic-prefix", "shadow."},
			[]string{"500ms", "__debezium-heartbeat", "shadow.__debezium-heartbeat.dbz"},
		},
	} {
		path, text := imported(t, c.options, c.args...)
		got, err := cli.Values([]string{"relay", "--config", path}, func(string) string { return "" })
		if err != nil || fmt.Sprint([]string{got["heartbeat-interval"], got["heartbeat-prefix"], got["heartbeat-topic"]}) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, %v, want %v\n%s", what, got, err, c.want, text)
		}
	}
	if _, text := imported(t, map[string]string{"heartbeat.action.query": "insert into beat values (1)", "topic.heartbeat.prefix": "b"}); !strings.Contains(text, "# heartbeat.action.query: is not run") ||
		!strings.Contains(text, "# topic.heartbeat.prefix: ") || strings.Contains(text, "insert into beat") {
		t.Error(text)
	}
}

// Heartbeats go where Debezium sent them.
func TestTopicOfHeartbeatsIsDebeziums(t *testing.T) {
	t.Parallel()
	for _, c := range golden.Heartbeats() {
		if c.Options["heartbeat.topics.prefix"] != "" {
			continue // which is refused
		}
		options := connector(c.Options)
		options["topic.prefix"] = "dbz_" + c.Name
		text, err := json.Marshal(options)
		if err != nil {
			t.Fatal(err)
		}
		r := runContext(t, t.Context(), nil, strings.NewReader(string(text)), "explain", "--connector", "-", "-o", "json")
		if got := jsonOf[explainedFile](t, r); got.Heartbeat == nil || got.Heartbeat.Topic != c.Records[0].Topic {
			t.Errorf("case %s: %+v, want %s", c.Name, got.Heartbeat, c.Records[0].Topic)
		}
	}
}

func TestRelaySendsImportedHeartbeats(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	slot := db.Slot(t, "beats")
	brokers := kafkaserver.Fake(t).ListenAddrs()
	kafkaserver.CreateTopic(t, brokers, "__debezium-heartbeat.dbz", 2)
	path, _ := imported(t, map[string]string{
		"heartbeat.interval.ms": "50", "publication.name": "gapless", "slot.name": slot,
		"value.converter": "org.apache.kafka.connect.json.JsonConverter",
	})
	relay := start(t, nil, "relay", "--create-topics", "--config", path, "--database-url", db.URL, "--brokers", strings.Join(brokers, ","), "--ops-listen", "127.0.0.1:0")
	client := kafkaserver.Client(t, brokers, kgo.ConsumeTopics("__debezium-heartbeat.dbz"))
	got := consumed(t, client, 1)[0]
	if string(got.Key) != "Struct{serverName=dbz}" || got.Partition != 0 || !strings.Contains(string(got.Value), `"name":"io.debezium.connector.common.Heartbeat"`) {
		t.Errorf("%s: %s on partition %d", got.Key, got.Value, got.Partition)
	}
	if r := relay.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

func TestHeartbeatNeedsOneName(t *testing.T) {
	t.Parallel()
	base := []string{"relay", "--database-url", "postgres://u@" + refused + "/x", "--brokers", refused, "--heartbeat-interval", "1s"}
	run(t, nil, base...).failsWith(t, cli.ExitUsage, "server_name")
	file := write(t, "relay.yaml", `version: 1
relays:
- tables:
  - {table: a.a, format: debezium, server_name: shop}
  - {table: a.b, format: debezium, server_name: shop, value: {converter: json}}
`)
	run(t, nil, append(base, "--config", file)...).failsWith(t, cli.ExitUsage, "a.a", "a.b", "converter")
}
