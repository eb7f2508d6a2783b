package relay_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/golden"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// A row that names a partition goes there, whatever its key; one that names a
// partition which the topic has not is parked, and no other row with it.
func TestPartitionsThatRowsName(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.Topic(t, brokers, "placed", 4)
	s := newSetup(t)
	s.exec(t, "create table placed (id uuid default gen_random_uuid(), aggregatetype text default '"+topic+"', aggregateid text, payload text, part int)")
	s.exec(t, "alter publication gapless add table placed")
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: brokers, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	config := s.config(sink)
	config.Tables = map[string]format.Format{"public.placed": eventrouter.Config{
		TopicReplacement: "${routedByValue}", Placements: []eventrouter.Placement{{Column: "part", Where: eventrouter.Partition}},
	}}
	r := run(t, config)
	s.exec(t, "insert into placed (aggregateid, payload, part) select 'k' || n % 3, n::text, n % 4 from generate_series(0, 19) as n")
	s.exec(t, "insert into placed (aggregateid, payload, part) values ('lost', 'nowhere', 9), ('lost', 'behind it', 1), ('k0', '20', 3), ('k1', '21', null)")
	wantParked(t, s, "parked lost nowhere refused", "waiting lost behind it waiting")
	s.stored(t, r, 24)
	// Many such rows do not end the stream one by one.
	before := r.Status().Reconnects
	s.exec(t, "insert into placed (aggregateid, payload, part) select 'made up ' || n, n::text, 100 + n from generate_series(1, 100) as n")
	s.stored(t, r, 124)
	if n := r.Status().Reconnects - before; n > 2 {
		t.Errorf("the stream ended %d times for a hundred rows", n)
	}
	// It may be there some day, and then it counts.
	kafkaserver.AddPartitions(t, brokers, topic, 10)
	s.exec(t, "insert into placed (aggregateid, payload, part) values ('k2', '22', 9)")
	testkit.Eventually(t, patience, func() error {
		records, err := golden.ReadTopics(t.Context(), brokers, []string{topic})
		if err != nil {
			return err
		}
		at := map[string]int32{}
		for _, r := range records {
			at[string(r.Value)] = r.Partition
		}
		for n := range 20 {
			if p, ok := at[strconv.Itoa(n)]; !ok || p != int32(n%4) {
				return fmt.Errorf("event %d is in partition %d, %t", n, p, ok)
			}
		}
		if p, ok := at["22"]; !ok || p != 9 || at["20"] != 3 || len(at) != 23 {
			return fmt.Errorf("records %v", at)
		}
		return nil
	})
	if got := s.parked(t); len(got) != 102 || slices.Contains(got, "parked k2 22 refused") {
		t.Errorf("parked %q", got)
	}
}

// A writer that makes up topics by the thousand has his own rows held, and ends no stream.
func TestTopicsMadeUpByTheThousand(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.Topic(t, brokers, "outbox.event.", 1)
	s := newSetup(t)
	r := run(t, s.config(kafkaSink(t, brokers)))
	const made = 12_000
	s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) select 'made-up-' || n || repeat('x', 190), 'k', 'T', '' from generate_series(1, $1) as n", made)
	s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ($1, 'k', 'T', 'behind them')", strings.TrimPrefix(topic, "outbox.event."))
	follow(t, brokers, topic).has(t, 1)
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.Held != made || st.Reconnects != 0 {
			return fmt.Errorf("held %d, the stream ended %d times", st.Held, st.Reconnects)
		}
		return nil
	})
}
