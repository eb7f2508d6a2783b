package relay_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
)

// A row whose created_at the topic does not take is parked, and what comes
// after it goes on. kfake takes any.
func TestKafkaTimestampOutOfRangeIsParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	aggregate := kafkaserver.Name(t, "relay")
	topic := "outbox.event." + aggregate
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	minute := "60000"
	settings := map[string]*string{"message.timestamp.after.max.ms": &minute}
	if !kafkaserver.IsReal() {
		settings = nil
	}
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, settings, topic); err != nil {
		t.Fatal(err)
	}
	r := run(t, s.config(kafkaSink(t, brokers)))
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload, created_at) values
		($1, 'ahead', 'T', 'x', now() + interval '1 year'), ($1, 'good', 'T', 'x', now()),
		($1, 'early', 'T', 'x', '1960-01-01'), ($1, 'late', 'T', 'x', '12000-01-01'), ($1, 'last', 'T', 'x', now())`, aggregate)
	s.stored(t, r, 5)
	parked := s.parked(t)
	if !kafkaserver.IsReal() {
		return
	}
	if len(parked) < 2 || !strings.Contains(strings.Join(parked, "\n"), "ahead") {
		t.Errorf("parked %q", parked)
	}
	got := follow(t, brokers, topic).has(t, 5-len(parked))
	for i := range got {
		if key := string(got[i].Key); key == "ahead" || key == "late" {
			t.Errorf("%s was sent", key)
		}
	}
}
