package relay_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/relay/format"
)

// While a round is under way the next record comes: without space between them, rounds
// would follow each other at once.
func TestKafkaSmallRoundsAreSpaced(t *testing.T) {
	t.Parallel()
	const learning, rounds, least = 100, 100, 2500 * time.Microsecond // of the 3 ms that a round of a ms is given
	cluster := kafkaserver.Fake(t, kfake.NumBrokers(1))
	brokers := cluster.ListenAddrs()
	kafkaserver.CreateTopic(t, brokers, "t", 1)
	sink := kafkaSink(t, brokers)
	t.Cleanup(func() {
		if err := sink.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	errs := make(chan error, 2*(learning+rounds))
	send := func() {
		if err := sink.Send(&format.Record{Topic: "t", Value: []byte("v")}, func(_ *format.Record, err error) { errs <- err }); err != nil {
			errs <- err
		}
	}
	began := make(chan time.Time, learning+rounds)
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		select {
		case began <- time.Now():
			send()
			time.Sleep(time.Millisecond) // the broker's own time
		default: // that was the last round
		}
		return nil, nil, false
	})
	send()
	var all []time.Time
	for len(all) < learning+rounds {
		select {
		case at := <-began:
			all = append(all, at)
		case err := <-errs:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("no round came")
		}
	}
	if took := all[learning+rounds-1].Sub(all[learning-1]); took < rounds*least {
		t.Errorf("%d rounds began within %s", rounds, took)
	}
}
