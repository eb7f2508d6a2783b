//go:build unix && jvm

package kafkaserver_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/process"
)

func startKafka(t *testing.T, cfg kafkaserver.KafkaConfig) *kafkaserver.Kafka {
	t.Helper()
	k, err := kafkaserver.StartKafka(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return k
}

func checkGone(t *testing.T, pid int, address string) {
	t.Helper()
	if process.Alive(pid) {
		t.Errorf("process %d is left", pid)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Errorf("port is left: %v", err)
		return
	}
	l.Close()
}

func TestKafkaKeepsRecordsOverAKillAndStopsClean(t *testing.T) {
	k := startKafka(t, kafkaserver.KafkaConfig{
		Properties: map[string]string{"message.max.bytes": "65536"},
		Listeners:  []kafkaserver.Listener{{Name: "OTHER", Advertised: "127.0.0.1:1"}},
	})
	other := kafkaserver.Client(t, []string{k.Listener("OTHER")})
	meta, err := kadm.NewClient(other).BrokerMetadata(t.Context())
	if err != nil || len(meta.Brokers) != 1 || meta.Brokers[0].Port != 1 {
		t.Errorf("the further listener names %+v, %v, want port 1", meta.Brokers, err)
	}
	version, err := kafkaserver.BrokerVersion(t.Context(), k.Brokers())
	if err != nil || version != "v4.1" {
		t.Errorf("version %q, %v, want v4.1", version, err)
	}
	topic := kafkaserver.Topic(t, k.Brokers(), "kept.", 1)
	c := kafkaserver.Client(t, k.Brokers(), kgo.ConsumeTopics(topic))
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	configs, err := kadm.NewClient(c).DescribeBrokerConfigs(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range configs[0].Configs {
		if entry.Key == "message.max.bytes" && entry.MaybeValue() != "65536" {
			t.Errorf("message.max.bytes %s, want the property given", entry.MaybeValue())
		}
	}

	pid, done := k.Pid(), k.Done()
	if err := k.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	checkGone(t, pid, k.Brokers()[0])
	if err := k.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	fetches := c.PollFetches(t.Context())
	if fetches.NumRecords() != 1 {
		t.Errorf("%d records after the kill, want 1 (%v)", fetches.NumRecords(), fetches.Err())
	}

	if err := k.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := kafkaserver.BrokerVersion(ctx, k.Brokers()); err == nil {
		t.Error("a paused broker answered")
	}
	if err := k.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := kafkaserver.BrokerVersion(t.Context(), k.Brokers()); err != nil {
		t.Errorf("after Resume: %v", err)
	}

	pid = k.Pid()
	if err := k.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkGone(t, pid, k.Brokers()[0])
	if _, err := os.Stat(k.Dir()); !os.IsNotExist(err) {
		t.Errorf("directory is left: %v", err)
	}
}

func TestTwoKafkasAtOnceAndADirectoryThatStays(t *testing.T) {
	dir := t.TempDir()
	started := make(chan error, 1)
	var other *kafkaserver.Kafka
	go func() {
		var err error
		other, err = kafkaserver.StartKafka(t.Context(), kafkaserver.KafkaConfig{})
		started <- err
	}()
	k := startKafka(t, kafkaserver.KafkaConfig{Dir: dir})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Stop(context.Background()) }()
	if other.Brokers()[0] == k.Brokers()[0] {
		t.Fatal("both have one address")
	}
	admin := kadm.NewClient(kafkaserver.Client(t, k.Brokers()))
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "stays"); err != nil {
		t.Fatal(err)
	}
	if err := k.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := startKafka(t, kafkaserver.KafkaConfig{Dir: dir})
	topics, err := kadm.NewClient(kafkaserver.Client(t, again.Brokers())).ListTopics(t.Context())
	if err != nil || !topics.Has("stays") {
		t.Errorf("topics %v, %v: want the one made before", topics.Names(), err)
	}
}

func TestKafkaErrorHoldsItsWords(t *testing.T) {
	_, err := kafkaserver.StartKafka(t.Context(), kafkaserver.KafkaConfig{Properties: map[string]string{"process.roles": "juggler"}})
	if err == nil || !strings.Contains(err.Error(), "Invalid value juggler") {
		t.Errorf("start with an impossible property: %v", err)
	}
}

func TestApicurioSpeaksTheConfluentAPI(t *testing.T) {
	a, err := kafkaserver.StartApicurio(t.Context(), kafkaserver.ApicurioConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	registry, err := sr.NewClient(sr.URLs(a.URL()))
	if err != nil {
		t.Fatal(err)
	}
	const proto = `syntax = "proto3"; package t.v1; message M { string a = 1; }`
	schema, err := registry.CreateSchema(t.Context(), "t-value", sr.Schema{Schema: proto, Type: sr.TypeProtobuf})
	if err != nil {
		t.Fatal(err)
	}
	back, err := registry.SchemaByID(t.Context(), schema.ID)
	if err != nil || back.Type != sr.TypeProtobuf {
		t.Errorf("schema %d: %v, %v", schema.ID, back.Type, err)
	}
	base, err := url.Parse(a.URL())
	if err != nil {
		t.Fatal(err)
	}
	pid := a.Pid()
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkGone(t, pid, base.Host)
}

func ExampleStartKafka() {
	ctx := context.Background()
	k, err := kafkaserver.StartKafka(ctx, kafkaserver.KafkaConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = k.Stop(ctx) }()
	version, err := kafkaserver.BrokerVersion(ctx, k.Brokers())
	fmt.Println(version, err)
	// Output: v4.1 <nil>
}
