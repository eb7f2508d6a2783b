package relay_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

// A broker refuses one request for good while records of its key go on being
// sent: none of them lands, or what was refused would come after it.
func TestNothingLandsBehindWhatWasRefused(t *testing.T) {
	t.Parallel()
	for trial := range 10 {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "x"))
		if err != nil {
			t.Fatal(err)
		}
		var requests, refused atomic.Int64
		cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			if requests.Add(1) != int64(5+3*trial) {
				return nil, nil, false
			}
			refused.Add(1)
			return answer(req.(*kmsg.ProduceRequest), kerr.InvalidRecord.Code), nil, true
		})
		sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: cluster.ListenAddrs()})
		if err != nil {
			t.Fatal(err)
		}
		var (
			mu              sync.Mutex
			landed, missing = -1, -1 // the last that landed, the first that did not
			out             int
		)
		ack := func(r *format.Record, err error) {
			n, _ := strconv.Atoi(string(r.Value))
			mu.Lock()
			defer mu.Unlock()
			out--
			if err == nil {
				landed = max(landed, n)
			} else if missing < 0 || n < missing {
				missing = n
			}
		}
		deadline := time.Now().Add(patience)
		for n := 0; time.Now().Before(deadline); {
			mu.Lock()
			isFull := out > 5000
			if !isFull {
				out++
			}
			mu.Unlock()
			if isFull {
				continue
			}
			r := &format.Record{Topic: "x", Key: []byte("k"), Value: []byte(strconv.Itoa(n)), Timestamp: time.Now()}
			if sink.Send(r, ack) != nil {
				break // it says so once it knows
			}
			n++
		}
		if err := sink.Close(t.Context()); err != nil { // whatever is still out is decided then
			t.Error(err)
		}
		mu.Lock()
		if refused.Load() != 1 || missing < 0 {
			t.Errorf("trial %d: %d requests refused, first record missing %d: the fault was not met", trial, refused.Load(), missing)
		}
		if landed >= missing {
			t.Errorf("trial %d: record %d landed, %d before it was refused", trial, landed, missing)
		}
		mu.Unlock()
		cluster.Close()
	}
}
