//go:build unix

package kafkaserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/testkit"
)

// BrokersVariable is the environment variable that names a real cluster for the
// tests.
const BrokersVariable = "GAPLESS_TEST_BROKERS"

// IsReal tells whether [ForTest] gives a real cluster. The test is marked by its
// attribute broker, real or kfake: CI runs again on a real one what is marked kfake,
// and counts what is marked real.
func IsReal(t testing.TB) bool {
	t.Helper()
	isReal := os.Getenv(BrokersVariable) != ""
	kind := "kfake"
	if isReal {
		kind = "real"
	}
	t.Attr("broker", kind)
	return isReal
}

// ForTest returns the brokers for a test: the real ones of GAPLESS_TEST_BROKERS,
// else a kfake cluster that ends with the test.
func ForTest(t testing.TB) []string {
	t.Helper()
	if IsReal(t) {
		return strings.Split(os.Getenv(BrokersVariable), ",")
	}
	return Fake(t).ListenAddrs()
}

// Fake returns a kfake cluster of one broker that ends with the test, whatever the
// environment: for tests that inject faults. opts come after the defaults.
func Fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatalf("start kfake: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// Name returns prefix with a suffix that no other test has, in this run or another
// one: for topics, aggregate types, groups and transactional ids on a shared
// cluster. It holds letters and digits, and what prefix holds.
func Name(_ testing.TB, prefix string) string {
	return prefix + strings.ToLower(rand.Text()[:13])
}

// Topic creates a topic with a name from [Name], see [CreateTopic].
func Topic(t testing.TB, brokers []string, prefix string, partitions int32) string {
	t.Helper()
	name := Name(t, prefix)
	CreateTopic(t, brokers, name, partitions)
	return name
}

// CreateTopic creates a topic that is deleted after the test, and returns when
// producers and consumers can see it.
func CreateTopic(t testing.TB, brokers []string, name string, partitions int32) {
	t.Helper()
	CreateTopics(t, brokers, partitions, name)
}

// CreateTopics is CreateTopic for many at once.
func CreateTopics(t testing.TB, brokers []string, partitions int32, names ...string) {
	t.Helper()
	createTopics(t, brokers, partitions, nil, names...)
}

// LimitedTopic is Topic with one partition and a max.message.bytes.
func LimitedTopic(t testing.TB, brokers []string, prefix string, maxBytes int) string {
	t.Helper()
	name, value := Name(t, prefix), strconv.Itoa(maxBytes)
	createTopics(t, brokers, 1, map[string]*string{"max.message.bytes": &value}, name)
	return name
}

func createTopics(t testing.TB, brokers []string, partitions int32, configs map[string]*string, names ...string) {
	t.Helper()
	admin := kadm.NewClient(client(t, brokers))
	defer admin.Close()
	made, err := admin.CreateTopics(t.Context(), partitions, 1, configs, names...)
	if err := errors.Join(err, made.Error()); err != nil {
		t.Fatalf("create topics %s: %v", names, err)
	}
	// A broker answers when its controller knows the topic, and knows it a moment
	// later itself.
	testkit.Eventually(t, 30*time.Second, func() error {
		topics, err := admin.ListTopics(t.Context(), names...)
		if err != nil {
			return err
		}
		for _, topic := range topics {
			if topic.Err != nil {
				return topic.Err
			}
			if n := len(topic.Partitions); n != int(partitions) {
				return fmt.Errorf("topic %s has %d partitions", topic.Topic, n)
			}
			for _, p := range topic.Partitions {
				if p.Err != nil {
					return p.Err
				}
			}
		}
		return nil
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		admin := kadm.NewClient(client(t, brokers))
		defer admin.Close()
		if _, err := admin.DeleteTopics(ctx, names...); err != nil && IsReal(t) {
			t.Logf("delete topics %s: %v", names, err) // the test may have killed the broker
		}
	})
}

// AddPartitions grows a topic to a number of partitions.
func AddPartitions(t testing.TB, brokers []string, topic string, partitions int) {
	t.Helper()
	admin := kadm.NewClient(client(t, brokers))
	defer admin.Close()
	if answers, err := admin.UpdatePartitions(t.Context(), partitions, topic); errors.Join(err, answers.Error()) != nil {
		t.Fatalf("add partitions to %s: %v", topic, errors.Join(err, answers.Error()))
	}
}

// Produce writes one record; without a value it is a tombstone.
func Produce(t testing.TB, brokers []string, topic, key string, value []byte) {
	t.Helper()
	c := client(t, brokers)
	defer c.Close()
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: value}).FirstErr(); err != nil {
		t.Fatalf("produce to %s: %v", topic, err)
	}
}

// Client returns a client of brokers that is closed after the test.
func Client(t testing.TB, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c := client(t, brokers, opts...)
	t.Cleanup(c.CloseAllowingRebalance)
	return c
}

func client(t testing.TB, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, opts...)...)
	if err != nil {
		t.Fatalf("make a client: %v", err)
	}
	return c
}

// ConnectForTest returns a Connect worker of the brokers that ends with the test, with
// settings over this package's.
func ConnectForTest(t testing.TB, brokers []string, settings ...map[string]string) *Connect {
	t.Helper()
	cfg := ConnectConfig{Brokers: brokers}
	if len(settings) > 0 {
		cfg.Properties = settings[0]
	}
	c, err := StartConnect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}
