package debezium_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/debezium"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// What Debezium Server sent is what the relay sends, once its application.properties were
// imported: it has other formats than Connect, and headers in JSON.
func TestRecordsAreThoseOfDebeziumServer(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	slot := db.Slot(t, "server")
	cases := golden.ServerCases()
	tables := map[string]format.Format{}
	var topics []string
	rows := 0
	for _, c := range cases {
		options := golden.ServerBase()
		maps.Copy(options, map[string]string{
			"debezium.source.database.dbname": "shop", "debezium.source.table.include.list": "public." + c.Name, "debezium.source.topic.prefix": "dbz_" + c.Name,
			"debezium.sink.kafka.producer.key.serializer": "x", "debezium.source.offset.storage.file.filename": "x", "quarkus.http.port": "0",
		})
		maps.Copy(options, c.Options)
		var properties strings.Builder
		for _, k := range slices.Sorted(maps.Keys(options)) {
			fmt.Fprintf(&properties, "%s=%s\n", k, options[k])
		}
		plan, err := debezium.Import([]byte(properties.String()))
		if err != nil {
			t.Fatalf("case %s: %v", c.Name, err)
		}
		tables["public."+c.Name] = plan.Router
		for _, statement := range []string{c.Table(c.DDL), "alter publication gapless add table " + c.Name} {
			if _, err := pool.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		topics = append(topics, "outbox.event."+c.Tag()+"order")
		rows += c.Inserts()
	}
	kafkaserver.CreateTopics(t, brokers, golden.Partitions, topics...)
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: brokers, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(relay.Config{DatabaseURL: db.URL, Slot: slot, Sink: sink, Tables: tables, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { ended <- r.Run(ctx) }()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, c := range cases {
		if err := c.Write(t.Context(), conn.Conn()); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, 30*time.Second, func() error {
		if s := r.Status(); s.Events < uint64(rows) {
			return fmt.Errorf("%d rows to send, %+v", rows, s)
		}
		return nil
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		got, err := golden.ReadTopics(t.Context(), brokers, topics[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		for j := range got {
			got[j].Timestamp = 0
		}
		if got, want := golden.Sorted(got), golden.Sorted(c.Records); !reflect.DeepEqual(got, want) {
			t.Errorf("case %s (%s):\n%s\nwant\n%s", c.Name, c.About, inWords(got), inWords(want))
		}
	}
}

func inWords(records []golden.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%s/%d/%d %q %q", r.Topic, r.Partition, r.Offset, r.Key, r.Value)
		for _, h := range r.Headers {
			fmt.Fprintf(&b, " %s=%q", h.Name, h.Value)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// What is refused is named, but not what it was set to where nothing is known of it: it may
// be a secret.
func TestRefusalsTellNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, text := range []string{
		`{"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
			"value.converter.basic.auth.user.info": "user:` + secret + `", "driver.sslpassword": "` + secret + `", "config.providers.vault.param.token": "` + secret + `",
			"transforms": "outbox", "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter", "transforms.outbox.secret": "` + secret + `",
			"database.password": "` + secret + `", "database.sslpassword": "` + secret + `"}`,
		"debezium.sink.type=redis\ndebezium.sink.redis.password=" + secret + "\ndebezium.source.database.password=" + secret + "\nanything.password=" + secret + "\n",
	} {
		_, err := debezium.Import([]byte(text))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
}

// What Debezium would not take, or would send no row of.
func TestContradictionsAreRefused(t *testing.T) {
	t.Parallel()
	for option, value := range map[string]string{"table.exclude.list": "public.outbox", "schema.include.list": "other, more"} {
		text := fmt.Sprintf(`{"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "plugin.name": "pgoutput", "topic.prefix": "x",
			"database.dbname": "shop", "table.include.list": "public.outbox", %q: %q,
			"key.converter": "org.apache.kafka.connect.storage.StringConverter", "value.converter": "org.apache.kafka.connect.storage.StringConverter",
			"transforms": "outbox", "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter"}`, option, value)
		if _, err := debezium.Import([]byte(text)); err == nil || !strings.Contains(err.Error(), option) {
			t.Errorf("%s: %v", option, err)
		}
		if _, err := debezium.Import([]byte(strings.Replace(text, value, map[string]string{"table.exclude.list": "", "schema.include.list": "other,public"}[option], 1))); err != nil && option == "schema.include.list" {
			t.Errorf("%s: %v", option, err)
		}
	}
}
