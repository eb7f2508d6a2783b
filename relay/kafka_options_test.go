package relay_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

// loneSink is a sink without a relay.
func loneSink(t testing.TB, brokers []string, opts ...kgo.Opt) *relay.KafkaSink {
	t.Helper()
	sink := kafkaSink(t, brokers, opts...)
	t.Cleanup(func() {
		if err := sink.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return sink
}

// acknowledged waits for an acknowledgement of each record.
func acknowledged(t testing.TB, sink relay.Sink, records ...*format.Record) {
	t.Helper()
	acked := make(chan error, len(records))
	for _, r := range records {
		if err := sink.Send(r, func(_ *format.Record, err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range records {
		select {
		case err := <-acked:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("no acknowledgement")
		}
	}
}

// tracing does to records what its hooks do.
type tracing struct{ seen atomic.Int32 }

type spanKey struct{}

func (h *tracing) OnProduceRecordBuffered(r *kgo.Record) {
	h.seen.Add(1)
	r.Context = context.WithValue(r.Context, spanKey{}, "span")
	r.Headers[0].Value = []byte("span")
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "tracestate", Value: []byte("s")})
}

// What a hook does to a record is not in the one that the relay parks or sends again, and
// does not hide where it must go.
func TestKafkaHooks(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.Topic(t, brokers, "hooks.", 4)
	var hook tracing
	sink := loneSink(t, brokers, kgo.WithHooks(&hook))
	r := &format.Record{
		Topic: topic, Key: []byte("k1"), Value: []byte("v"), Partition: 3, Headers: []format.Header{{Key: "traceparent", Value: []byte("row")}},
	}
	acknowledged(t, sink, r)
	if hook.seen.Load() != 1 || len(r.Headers) != 1 || string(r.Headers[0].Value) != "row" {
		t.Errorf("the hook has seen %d records, ours has the headers %v", hook.seen.Load(), r.Headers)
	}
	got := follow(t, brokers, topic).has(t, 1)[0]
	if got.Partition != 3 || len(got.Headers) != 2 || string(got.Headers[0].Value) != "span" {
		t.Errorf("on partition %d with the headers %v", got.Partition, got.Headers)
	}
}

// buffered counts what the client holds.
type buffered struct {
	mu        sync.Mutex
	now, most int
}

func (b *buffered) OnProduceRecordBuffered(*kgo.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now++
	b.most = max(b.most, b.now)
}

func (b *buffered) OnProduceRecordUnbuffered(*kgo.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now--
}

// However much waits, the client is given no more than it needs for a good request, in order.
func TestKafkaRoundsAreBounded(t *testing.T) {
	t.Parallel()
	const n = 10_000
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.Topic(t, brokers, "rounds.", 1)
	var client buffered
	sink := loneSink(t, brokers, kgo.WithHooks(&client))
	records := make([]*format.Record, n)
	for i := range records {
		records[i] = &format.Record{Topic: topic, Key: []byte("k"), Value: []byte(strconv.Itoa(i)), Partition: -1}
	}
	acknowledged(t, sink, records...)
	for i, r := range follow(t, brokers, topic).has(t, n) {
		if string(r.Value) != strconv.Itoa(i) {
			t.Fatalf("record %d is %s", i, r.Value)
		}
	}
	client.mu.Lock()
	defer client.mu.Unlock()
	if client.most > 2048 || client.most < 64 {
		t.Errorf("the client held up to %d records", client.most)
	}
}

// A limit of the client's own would let a small record pass a large one of its key.
func TestKafkaHasNoLimitOfTheClient(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.Topic(t, brokers, "limit.", 1)
	sink := loneSink(t, brokers, kgo.MaxBufferedBytes(1000), kgo.MaxBufferedRecords(1))
	acknowledged(t, sink,
		&format.Record{Topic: topic, Key: []byte("k"), Value: make([]byte, 2000), Partition: -1},
		&format.Record{Topic: topic, Key: []byte("k"), Value: make([]byte, 1), Partition: -1})
	if got := follow(t, brokers, topic).has(t, 2); len(got[0].Value) != 2000 {
		t.Errorf("the record of %d bytes came first", len(got[0].Value))
	}
}
