//go:build jvm

package golden_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// TestDebeziumServerStillSendsThis is TestDebeziumStillSendsThis for Debezium Server, in
// the directory GAPLESS_DEBEZIUM_SERVER, with quarkus-run.jar in it.
func TestDebeziumServerStillSendsThis(t *testing.T) {
	home := os.Getenv("GAPLESS_DEBEZIUM_SERVER")
	if home == "" {
		t.Skip("GAPLESS_DEBEZIUM_SERVER names no Debezium Server")
	}
	const path = "server.json"
	cases, err := golden.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	db, err := url.Parse(server.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	brokers := kafkaserver.ForTest(t)
	conn, err := pgx.Connect(t.Context(), server.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for i := range cases {
		c := &cases[i]
		stored := c.Records
		kafkaserver.CreateTopics(t, brokers, golden.Partitions, "outbox.event."+c.Tag()+"order")
		if _, err := conn.Exec(t.Context(), c.Table(c.DDL), pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("case %s: %v", c.Name, err)
		}
		c.Records = serve(t, home, conn, db, brokers, c)
		if !reflect.DeepEqual(golden.Sorted(c.Records), golden.Sorted(stored)) {
			t.Errorf("case %s\nsent  %s\nstored %s", c.Name, text(t, c.Records), text(t, stored))
		}
	}
	if os.Getenv("GAPLESS_GOLDEN_WRITE") != "" {
		if err := os.WriteFile(path, append(indented(t, cases), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// serve runs a server for one case until its records have come.
func serve(t *testing.T, home string, conn *pgx.Conn, db *url.URL, brokers []string, c *golden.Case) []golden.Record {
	t.Helper()
	dir := t.TempDir()
	password, _ := db.User.Password()
	options := map[string]string{
		"debezium.source.database.hostname": db.Hostname(), "debezium.source.database.port": db.Port(),
		"debezium.source.database.dbname": strings.TrimPrefix(db.Path, "/"), "debezium.source.database.user": db.User.Username(),
		"debezium.source.database.password":              cmp.Or(password, "none"),
		"debezium.sink.kafka.producer.bootstrap.servers": strings.Join(brokers, ","),
		"debezium.sink.kafka.producer.key.serializer":    "org.apache.kafka.common.serialization.StringSerializer",
		"debezium.sink.kafka.producer.value.serializer":  "org.apache.kafka.common.serialization.StringSerializer",
		"debezium.source.offset.storage.file.filename":   filepath.Join(dir, "offsets"),
		"debezium.source.offset.flush.interval.ms":       "0",
		"debezium.source.slot.name":                      c.Name,
		"debezium.source.publication.name":               c.Name,
		"debezium.source.publication.autocreate.mode":    "filtered",
		"debezium.source.table.include.list":             "public." + c.Name,
		"debezium.source.topic.prefix":                   "dbz_" + c.Name,
		"quarkus.http.port":                              "0",
		"quarkus.log.level":                              "WARN",
	}
	maps.Copy(options, golden.ServerBase())
	maps.Copy(options, c.Options)
	var properties strings.Builder
	for _, k := range slices.Sorted(maps.Keys(options)) {
		fmt.Fprintf(&properties, "%s=%s\n", k, options[k])
	}
	if err := os.MkdirAll(filepath.Join(dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config", "application.properties"), []byte(properties.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	java := filepath.Join(os.Getenv("JAVA_HOME"), "bin", "java")
	var log testkit.Buffer
	cmd := exec.CommandContext(t.Context(), java, "-Xmx384m", "-jar", filepath.Join(home, "quarkus-run.jar"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if offsets := os.Getenv("GAPLESS_OFFSETS_WRITE"); offsets != "" {
			if text, err := os.ReadFile(filepath.Join(dir, "offsets")); err == nil {
				_ = os.WriteFile(offsets, text, 0o644)
			}
		}
	}()
	testkit.Eventually(t, time.Minute, func() error {
		var active bool
		err := conn.QueryRow(t.Context(), "select count(*) > 0 from pg_replication_slots where slot_name = $1 and active", c.Name).Scan(&active)
		if err == nil && !active {
			err = fmt.Errorf("it does not stream yet: %s", &log)
		}
		return err
	})
	if err := c.Write(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	topic := "outbox.event." + c.Tag() + "order"
	var records []golden.Record
	testkit.Eventually(t, 30*time.Second, func() error {
		var err error
		if records, err = golden.ReadTopics(t.Context(), brokers, []string{topic}); err == nil && len(records) < c.Inserts() {
			err = fmt.Errorf("%d records of %d: %s", len(records), c.Inserts(), &log)
		}
		return err
	})
	for i := range records {
		records[i].Timestamp = 0
	}
	return records
}
