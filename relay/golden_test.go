package relay_test

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// What Debezium sent is what we send, byte for byte, from the same statements.
// GAPLESS_GOLDEN names a file with other cases of the same shape.
func TestRecordsAreThoseOfDebezium(t *testing.T) {
	t.Parallel()
	cases := golden.Cases()
	if path := os.Getenv("GAPLESS_GOLDEN"); path != "" {
		var err error
		if cases, err = golden.Load(path); err != nil {
			t.Fatal(err)
		}
	}
	brokers := kafkaserver.ForTest(t)
	topics := map[string]bool{}
	s := newSetup(t)
	tables, messages := map[string]format.Format{}, map[string]eventrouter.Config{}
	inserts := uint64(0)
	for _, c := range cases {
		options := golden.Base()
		maps.Copy(options, c.Options)
		options["topic.prefix"] = "dbz_" + c.Name
		router, _, err := eventrouter.FromConnector(options)
		if err != nil {
			t.Errorf("case %s: %v", c.Name, err)
			continue
		}
		tables["public."+c.Name] = router
		if c.Prefix() != "" {
			messages[c.Prefix()] = router
		}
		s.script(t, c.Table(c.DDL))
		s.exec(t, "alter publication gapless add table "+c.Name)
		for _, r := range c.Records {
			topics[r.Topic] = true
		}
		topics["outbox.event."+c.Tag()+"order"] = true
		inserts += uint64(c.Inserts())
	}
	kafkaserver.CreateTopics(t, brokers, golden.Partitions, slices.Collect(maps.Keys(topics))...)
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: brokers, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	config := s.config(sink)
	config.Tables, config.Messages = tables, messages
	r := run(t, config)
	for _, c := range cases {
		if tables["public."+c.Name] == nil {
			continue
		}
		if err := s.write(t, c); err != nil {
			t.Fatalf("case %s: %v", c.Name, err)
		}
	}
	s.stored(t, r, inserts)
	r.stop()
	records, err := golden.ReadTopics(t.Context(), brokers, slices.Sorted(maps.Keys(topics)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]golden.Record{}
	for _, r := range records {
		for _, c := range cases {
			if strings.Contains(r.Topic, c.Tag()) {
				if !c.Timed() {
					r.Timestamp = 0
				}
				got[c.Name] = append(got[c.Name], r)
			}
		}
	}
	for _, c := range cases {
		if tables["public."+c.Name] == nil {
			continue
		}
		var parked int
		if err := s.pool.QueryRow(t.Context(), "select count(*) from gapless.parked where relation in ($1, $2)", "public."+c.Name, "message."+c.Prefix()).Scan(&parked); err != nil {
			t.Fatal(err)
		}
		compare(t, c, got[c.Name], parked)
	}
}

// compare wants the records of a case. Where Debezium has failed it wants those that
// came before, and that none of the other rows is lost.
func compare(t *testing.T, c golden.Case, got []golden.Record, parked int) {
	t.Helper()
	want := golden.Sorted(c.Records)
	got = golden.Sorted(got)
	whole := len(got)
	if c.TaskState == "FAILED" {
		got = got[:min(len(got), len(want))]
	}
	if len(want) == 0 && len(got) == 0 {
		got = want
	}
	for i := range max(len(got), len(want)) {
		if i < len(got) && i < len(want) && reflect.DeepEqual(got[i], want[i]) {
			continue
		}
		t.Errorf("case %s (%s): record %d is\n%s\nwant\n%s", c.Name, c.About, i, at(got, i), at(want, i))
	}
	if whole+parked != c.Inserts() {
		t.Errorf("case %s (%s): %d records and %d parked of %d rows", c.Name, c.About, whole, parked, c.Inserts())
	}
}

func at(records []golden.Record, i int) string {
	if i >= len(records) {
		return "nothing"
	}
	r := records[i]
	var s strings.Builder
	fmt.Fprintf(&s, "%s/%d/%d key %q value %q time %d", r.Topic, r.Partition, r.Offset, r.Key, r.Value, r.Timestamp)
	for _, h := range r.Headers {
		fmt.Fprintf(&s, " %s=%q", h.Name, h.Value)
	}
	return s.String()
}

func (s *setup) script(t *testing.T, sql string) {
	t.Helper()
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Conn().PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (s *setup) write(t *testing.T, c golden.Case) error {
	t.Helper()
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		return err
	}
	defer conn.Release()
	return c.Write(t.Context(), conn.Conn())
}
