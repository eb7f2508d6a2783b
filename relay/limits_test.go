package relay_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

// raise sets the limit of a topic, and returns when the broker says so.
func raise(t testing.TB, brokers []string, topic string, limit int) {
	t.Helper()
	value, admin := strconv.Itoa(limit), kadm.NewClient(kafkaserver.Client(t, brokers))
	altered, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &value}}, topic)
	if err != nil || altered[0].Err != nil {
		t.Fatalf("%v, %v", err, altered)
	}
	testkit.Eventually(t, patience, func() error {
		configs, err := admin.DescribeTopicConfigs(t.Context(), topic)
		if err != nil {
			return err
		}
		for _, c := range configs[0].Configs {
			if c.Key == "max.message.bytes" && c.MaybeValue() == value {
				return nil
			}
		}
		return fmt.Errorf("%+v", configs)
	})
}

func sized(topic, key string, size int) *format.Record {
	return &format.Record{Topic: topic, Key: []byte(key), Value: bytes.Repeat([]byte{'x'}, size), Partition: -1}
}

// answers sends the records and returns the answer to each.
func answers(t testing.TB, sink relay.Sink, records ...*format.Record) []error {
	t.Helper()
	type answer struct {
		of  *format.Record
		err error
	}
	acked := make(chan answer, len(records))
	for _, r := range records {
		if err := sink.Send(r, func(r *format.Record, err error) { acked <- answer{r, err} }); err != nil {
			acked <- answer{r, err}
		}
	}
	got := map[*format.Record]error{}
	for range records {
		select {
		case a := <-acked:
			got[a.of] = a.err
		case <-time.After(patience):
			t.Fatal("no answer")
		}
	}
	errs := make([]error, len(records))
	for i, r := range records {
		errs[i] = got[r]
	}
	return errs
}

func reset(t testing.TB, sink relay.Sink) {
	t.Helper()
	if err := sink.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func isTooLarge(err error) bool {
	fault, ok := errors.AsType[*format.Fault](err)
	return ok && fault.Reason == format.TooLarge
}

// learns lets the sink find out that the topic takes less than size.
func learns(t testing.TB, sink relay.Sink, topic string, size int) {
	t.Helper()
	if err := answers(t, sink, sized(topic, "other", size))[0]; err == nil || isTooLarge(err) {
		t.Fatalf("the broker's answer to %d bytes: %v", size, err)
	}
	reset(t, sink)
	if err := answers(t, sink, sized(topic, "other", size))[0]; !isTooLarge(err) {
		t.Fatalf("the answer to %d bytes, the second time: %v", size, err)
	}
}

// What one topic does not take, another does, and a smaller record does not pass it.
func TestKafkaLimitsAreOfTheirTopics(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]bool{"a topic without": false, "a topic with a higher one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			brokers := kafkaserver.ForTest(t)
			wide, narrow := kafkaserver.LimitedTopic(t, brokers, "wide.", 400_000), kafkaserver.LimitedTopic(t, brokers, "narrow.", 20_000)
			sink := loneSink(t, brokers)
			if first {
				learns(t, sink, wide, 500_000)
			}
			learns(t, sink, narrow, 50_000)
			for i, err := range answers(t, sink, sized(wide, "k", 100_000), sized(wide, "k", 1), sized(narrow, "k", 10_000), sized(narrow, "k", 1)) {
				if err != nil {
					t.Errorf("record %d: %v", i, err)
				}
			}
			for topic, size := range map[string]int{wide: 100_000, narrow: 10_000} {
				if got := follow(t, brokers, topic).has(t, 2); len(got[0].Value) != size || len(got[1].Value) != 1 {
					t.Errorf("in %s %d bytes came before %d", topic, len(got[0].Value), len(got[1].Value))
				}
			}
		})
	}
}

// A client takes what it took when it was made: a limit that is found higher is for the
// next one, or a smaller record would pass a larger one of its key.
func TestKafkaLimitIsRaisedForTheNextClient(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.LimitedTopic(t, brokers, "raised.", 20_000)
	sink := loneSink(t, brokers)
	learns(t, sink, topic, 50_000)
	acknowledged(t, sink, sized(topic, "k", 1000))
	raise(t, brokers, topic, 100_000)
	if changed, err := sink.Relearn(t.Context()); err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if err := answers(t, sink, sized(topic, "k", 50_000))[0]; !isTooLarge(err) {
		t.Errorf("the client of before: %v", err)
	}
	reset(t, sink)
	acknowledged(t, sink, sized(topic, "k", 50_000), sized(topic, "k", 1))
	if got := follow(t, brokers, topic).has(t, 3); len(got[1].Value) != 50_000 {
		t.Errorf("%d bytes came first", len(got[1].Value))
	}
}

// baggage adds to some records more than is left of the limit.
type baggage struct{}

func (baggage) OnProduceRecordBuffered(r *kgo.Record) {
	if len(r.Value) > 1 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "baggage", Value: make([]byte, 1000)})
	}
}

// A record that hooks make too large is not passed by the one behind it.
func TestKafkaHookMakesARecordTooLarge(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.LimitedTopic(t, brokers, "baggage.", 20_000)
	sink := loneSink(t, brokers, kgo.WithHooks(baggage{}))
	learns(t, sink, topic, 50_000)
	for range 2 { // the first round of a client, and a later one
		got := answers(t, sink, sized(topic, "k", 1), sized(topic, "k", 19_500), sized(topic, "k", 1))
		if got[0] != nil || !isTooLarge(got[1]) || got[2] == nil || isTooLarge(got[2]) {
			t.Errorf("%v", got)
		}
		reset(t, sink)
	}
	acknowledged(t, sink, sized(topic, "k", 10_000), sized(topic, "k", 1))
	if got := follow(t, brokers, topic).has(t, 4); len(got) != 4 || len(got[2].Value) != 10_000 {
		t.Errorf("%d records, the third of %d bytes", len(got), len(got[2].Value))
	}
}

// A topic that goes away before it is known what was wrong with a record of it holds its own
// rows, and no others.
func TestKafkaAilingTopicGoesAway(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	topic, other := kafkaserver.LimitedTopic(t, brokers, "gone.", 20_000), kafkaserver.Topic(t, brokers, "there.", 1)
	sink := loneSink(t, brokers)
	if err := answers(t, sink, sized(topic, "k", 50_000))[0]; err == nil || isTooLarge(err) {
		t.Fatalf("the broker's answer: %v", err)
	}
	deleted, err := kadm.NewClient(kafkaserver.Client(t, brokers)).DeleteTopics(t.Context(), topic)
	if err != nil || deleted[topic].Err != nil {
		t.Fatalf("%v, %v", deleted, err)
	}
	reset(t, sink)
	if held, ok := errors.AsType[*relay.HeldError](answers(t, sink, sized(topic, "k", 1))[0]); !ok || held.Topic != topic {
		t.Errorf("not held: %v", held)
	}
	acknowledged(t, sink, sized(other, "k", 1))
}
