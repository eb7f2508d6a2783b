package relay_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/internal/kafkaserver"
)

// A broker that refuses every batch with a certain record in it: the record is
// found and parked with what comes behind it, and the rest arrives.
func TestKafkaRefusedRecordIsParked(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]*kerr.Error{
		"record": kerr.InvalidRecord, "timestamp": kerr.InvalidTimestamp,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			cluster := kafkaserver.Fake(t)
			brokers := cluster.ListenAddrs()
			aggregate := kafkaserver.Name(t, "relay")
			topic := "outbox.event." + aggregate
			kafkaserver.CreateTopic(t, brokers, topic, 1)
			var mu sync.Mutex
			refusals := 0
			cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				produce, ok := req.(*kmsg.ProduceRequest)
				if !ok {
					return nil, errors.New("not a produce request"), true
				}
				for _, rt := range produce.Topics {
					for _, rp := range rt.Partitions {
						if bytes.Contains(rp.Records, []byte("poison")) {
							mu.Lock()
							defer mu.Unlock()
							refusals++
							return answer(produce, refused.Code), nil, true
						}
					}
				}
				return nil, nil, false
			})
			r := run(t, s.config(kafkaSink(t, brokers)))
			s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
				select $1, case when i in (50, 60) then 'bad' else 'good' end, 'T', convert_to(case i when 50 then 'poison' else i::text end, 'UTF8')
				from generate_series(1, 100) as i`, aggregate)
			wantParked(t, s, "parked bad poison refused", "waiting bad 60 waiting")
			s.stored(t, r, 100)
			var distinct []string
			for _, rec := range follow(t, brokers, topic).has(t, 98) {
				if v := string(rec.Value); !slices.Contains(distinct, v) {
					distinct = append(distinct, v)
				}
			}
			if len(distinct) != 98 || slices.Contains(distinct, "60") || strings.Contains(strings.Join(distinct, " "), "poison") {
				t.Errorf("%d values arrived: %q", len(distinct), distinct)
			}
			mu.Lock()
			defer mu.Unlock()
			if refusals > 4 {
				t.Errorf("%d refusals to find one record", refusals)
			}
		})
	}
}
