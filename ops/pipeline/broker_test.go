package pipeline_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/process"
)

// broker is one that a test may stop, so never the one that all share: a Kafka
// of the test's own where the suite runs on real ones, else kfake on a
// directory.
type broker interface {
	addresses() []string
	stop(t *testing.T)
	start(t *testing.T)
}

func newBroker(t *testing.T) broker {
	t.Helper()
	if !kafkaserver.IsReal(t) {
		port, err := process.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b := &fakeBroker{options: []kfake.Opt{
			kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(t.TempDir()), kfake.SyncWrites(),
			kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
		}}
		b.start(t)
		t.Cleanup(func() { b.cluster.Close() })
		return b
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	k, err := kafkaserver.StartKafka(ctx, kafkaserver.KafkaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := k.Stop(ctx); err != nil {
			t.Errorf("stop Kafka: %v", err)
		}
	})
	return realBroker{k}
}

type fakeBroker struct {
	options []kfake.Opt
	cluster *kfake.Cluster
	listens []string // of the first start; a cluster that is closed does not say
}

func (b *fakeBroker) addresses() []string { return b.listens }

func (b *fakeBroker) stop(*testing.T) { b.cluster.Close() }

func (b *fakeBroker) start(t *testing.T) {
	t.Helper()
	var err error
	if b.cluster, err = kfake.NewCluster(b.options...); err != nil {
		t.Fatalf("start kfake: %v", err)
	}
	b.listens = b.cluster.ListenAddrs()
}

type realBroker struct{ *kafkaserver.Kafka }

func (b realBroker) addresses() []string { return b.Brokers() }

// stop is SIGKILL: a broker that ends cleanly says goodbye to its clients.
func (b realBroker) stop(t *testing.T) {
	t.Helper()
	if err := b.Kill(t.Context()); err != nil {
		t.Fatalf("kill Kafka: %v", err)
	}
}

func (b realBroker) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := b.Restart(ctx); err != nil {
		t.Fatalf("restart Kafka: %v", err)
	}
}
