package relay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay/format"
)

// producerOf reads whose the batch of a request to one partition is.
func producerOf(t *testing.T, req kmsg.Request) int64 {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(req.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records); err != nil {
		t.Error(err)
	}
	return b.ProducerID
}

// sinkOfOneBroker is for topic x with one partition. Both are closed after the test.
func sinkOfOneBroker(t *testing.T) (*kfake.Cluster, *KafkaSink) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "x"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	k, err := NewKafkaSink(KafkaConfig{Brokers: cluster.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return cluster, k
}

// A broker that has forgotten the producer takes a batch that was on its way behind one
// that it refused. Of a client so old that this may be, nothing is.
func TestNothingIsBehindABatchOfAnOldClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		age     time.Duration
		isTaken bool
	}{
		"young": {time.Hour, true}, // such a broker would have done harm
		"old":   {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, k := sinkOfOneBroker(t)
			k.renewAfter = c.age
			var requests, taken atomic.Int64
			var refused int64
			var once sync.Once
			arrived, queued, failed := make(chan struct{}), make(chan struct{}), make(chan struct{})
			cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				producer := producerOf(t, req)
				resp := req.ResponseKind().(*kmsg.ProduceResponse)
				part := kmsg.NewProduceResponseTopicPartition()
				switch requests.Add(1) {
				case 1:
					close(arrived)
					<-queued
				case 2:
					time.Sleep(50 * time.Millisecond) // for what is on its way behind it
					refused, part.ErrorCode = producer, kerr.InvalidTimestamp.Code
				default:
					if producer == refused {
						taken.Add(1)
					}
				}
				topic := kmsg.NewProduceResponseTopic()
				topic.Topic, topic.TopicID = "x", req.(*kmsg.ProduceRequest).Topics[0].TopicID
				topic.Partitions = append(topic.Partitions, part)
				resp.Topics = append(resp.Topics, topic)
				return resp, nil, true
			})
			send := func(bytes int) {
				r := &format.Record{Topic: "x", Key: []byte("k"), Value: make([]byte, bytes), Timestamp: time.Now(), Partition: -1}
				err := k.Send(r, func(_ *format.Record, err error) {
					if err != nil {
						once.Do(func() { close(failed) })
					}
				})
				if err != nil {
					t.Error(err)
				}
			}
			send(1)
			<-arrived
			for range 30 {
				send(100_000)
			}
			close(queued)
			<-failed
			if c.isTaken {
				testkit.Eventually(t, 10*time.Second, func() error {
					if taken.Load() == 0 {
						return errors.New("nothing was on its way behind what was refused")
					}
					return nil
				})
			}
			if err := k.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := taken.Load() > 0; got != c.isTaken || requests.Load() < 2 {
				t.Errorf("%d requests, %d taken behind the one that was refused", requests.Load(), taken.Load())
			}
		})
	}
}

// With nothing on its way an old client makes room for a new one: another producer.
func TestOldClientIsRenewed(t *testing.T) {
	t.Parallel()
	cluster, k := sinkOfOneBroker(t)
	producers := make(chan int64, 3)
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		producers <- producerOf(t, req)
		return nil, nil, false
	})
	for i, age := range []time.Duration{time.Hour, time.Hour, 0} {
		k.mu.Lock()
		k.renewAfter = age
		k.mu.Unlock()
		done := make(chan error, 1)
		if err := k.Send(&format.Record{Topic: "x", Key: []byte("k"), Timestamp: time.Now(), Partition: -1}, func(_ *format.Record, err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		for running := true; running; { // the answer comes before the round is over
			k.mu.Lock()
			running = k.rounds.running
			k.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
	}
	first, second, third := <-producers, <-producers, <-producers
	if first != second || second == third {
		t.Errorf("producers %d, %d and %d", first, second, third)
	}
}
