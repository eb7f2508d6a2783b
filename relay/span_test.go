package relay_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/internal/kafkaserver"
)

// refuseAhead has a broker that takes any timestamp refuse what is more than an hour ahead,
// which is Kafka's default, and counts.
func refuseAhead(cluster *kfake.Cluster) *atomic.Int64 {
	var refusals atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		produce, ok := req.(*kmsg.ProduceRequest)
		if !ok {
			return nil, errors.New("not a produce request"), true
		}
		for _, rt := range produce.Topics {
			for _, rp := range rt.Partitions {
				var batch kmsg.RecordBatch
				if err := batch.ReadFrom(rp.Records); err != nil {
					return nil, err, true
				}
				if time.UnixMilli(batch.MaxTimestamp).After(time.Now().Add(time.Hour)) {
					refusals.Add(1)
					return answer(produce, kerr.InvalidTimestamp.Code), nil, true
				}
			}
		}
		return nil, nil, false
	})
	return &refusals
}

// A row whose created_at the topic does not take is parked, and what comes after it goes
// on. What is out of bounds is found at the first refusal.
func TestKafkaTimestampOutOfRangeIsParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var brokers []string
	refusals := new(atomic.Int64)
	if kafkaserver.IsReal(t) {
		brokers = kafkaserver.ForTest(t)
		refusals.Store(1)
	} else {
		cluster := kafkaserver.Fake(t)
		brokers, refusals = cluster.ListenAddrs(), refuseAhead(cluster)
	}
	aggregate := kafkaserver.Name(t, "relay")
	topic := "outbox.event." + aggregate
	settings := map[string]*string{}
	if kafkaserver.IsReal(t) {
		settings["message.timestamp.after.max.ms"] = new("3600000")
	}
	if _, err := kadm.NewClient(kafkaserver.Client(t, brokers)).CreateTopic(t.Context(), 1, 1, settings, topic); err != nil {
		t.Fatal(err)
	}
	r := run(t, s.config(kafkaSink(t, brokers)))
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload, created_at) values
		($1, 'ahead', 'T', 'x', now() + interval '1 year'), ($1, 'good', 'T', 'x', now()),
		($1, 'early', 'T', 'x', '1960-01-01'), ($1, 'late', 'T', 'x', '12000-01-01'), ($1, 'last', 'T', 'x', now())`, aggregate)
	s.stored(t, r, 5)
	if refusals.Load() != 1 {
		t.Errorf("%d batches refused", refusals.Load())
	}
	var parked []string
	for _, row := range s.parked(t) {
		parked = append(parked, strings.Fields(row)[1])
	}
	if want := []string{"ahead", "early", "late"}; !slices.Equal(parked, want) {
		t.Errorf("parked %q, want %q", parked, want)
	}
	for i, rec := range follow(t, brokers, topic).has(t, 2) {
		if want := []string{"good", "last"}; i >= len(want) || string(rec.Key) != want[i] {
			t.Errorf("record %d has key %s", i, rec.Key)
		}
	}
}
