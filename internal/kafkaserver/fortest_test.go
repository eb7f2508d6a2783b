//go:build unix

package kafkaserver_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/kafkaserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRecordGoesRound(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.Topic(t, brokers, "round.", 3)
	c := kafkaserver.Client(t, brokers, kgo.ConsumeTopics(topic))
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetches := c.PollFetches(t.Context())
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	if got := string(fetches.Records()[0].Value); got != "v" {
		t.Errorf("read %q, want v", got)
	}
}

func TestTopicsAreNotMadeByProducing(t *testing.T) {
	t.Parallel()
	c := kafkaserver.Client(t, kafkaserver.ForTest(t), kgo.UnknownTopicRetries(1), kgo.AllowAutoTopicCreation())
	err := c.ProduceSync(t.Context(), &kgo.Record{Topic: kafkaserver.Name(t, "missing."), Value: []byte("v")}).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("produce to a missing topic: %v, want UNKNOWN_TOPIC_OR_PARTITION", err)
	}
}

func TestNamesDiffer(t *testing.T) {
	t.Parallel()
	if a, b := kafkaserver.Name(t, "x"), kafkaserver.Name(t, "x"); a == b {
		t.Errorf("%s twice", a)
	}
}
