package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay/format"
)

// refuseBatches has the broker refuse every batch that holds the word poison, and counts.
func refuseBatches(cluster *kfake.Cluster, code *kerr.Error, each ...func(n int64)) *atomic.Int64 {
	var refusals atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		produce, ok := req.(*kmsg.ProduceRequest)
		if !ok {
			return nil, errors.New("not a produce request"), true
		}
		for _, rt := range produce.Topics {
			for _, rp := range rt.Partitions {
				if bytes.Contains(rp.Records, []byte("poison")) {
					n := refusals.Add(1)
					for _, f := range each {
						f(n)
					}
					return answer(produce, code.Code), nil, true
				}
			}
		}
		return nil, nil, false
	})
	return &refusals
}

// A broker that refuses every batch with a certain record in it: the record is
// found and parked with what comes behind it, and the rest arrives.
func TestKafkaRefusedRecordIsParked(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]*kerr.Error{
		"record": kerr.InvalidRecord, "timestamp": kerr.InvalidTimestamp, "topic": kerr.InvalidTopicException,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			cluster := kafkaserver.Fake(t)
			brokers := cluster.ListenAddrs()
			aggregate := kafkaserver.Name(t, "relay")
			topic := "outbox.event." + aggregate
			kafkaserver.CreateTopic(t, brokers, topic, 1)
			refusals := refuseBatches(cluster, refused)
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
			if n := refusals.Load(); n < 2 || n > 4 {
				t.Errorf("%d refusals to find one record", n)
			}
		})
	}
}

// A trial ends while records queue behind it; a later refusal concerns one of those, and
// not all that were in the batch.
func TestTrialIsOver(t *testing.T) {
	t.Parallel()
	const trial = 4096 // see solo.go
	cluster := kafkaserver.Fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "x"))
	refusals := refuseBatches(cluster, kerr.InvalidRecord)
	sink := kafkaSink(t, cluster.ListenAddrs())
	t.Cleanup(func() {
		if err := sink.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	type answer struct {
		value string
		err   error
	}
	answers := make(chan answer, trial+200)
	send := func(value string) {
		t.Helper()
		record := &format.Record{Topic: "x", Key: []byte(value), Value: []byte(value), Timestamp: time.Now()}
		if err := sink.Send(record, func(r *format.Record, err error) { answers <- answer{string(r.Value), err} }); err != nil {
			t.Fatal(err)
		}
	}
	send("poison")
	if a := <-answers; a.err == nil {
		t.Fatal("not refused")
	}
	if err := sink.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range trial + 199 {
		send(strconv.Itoa(i))
	}
	send("poison")
	var well, batch int
	for range trial + 200 {
		select {
		case a := <-answers:
			if a.err == nil {
				well++
				continue
			}
			batch++
			if _, ok := errors.AsType[*format.Fault](a.err); ok {
				t.Fatalf("record %s, which was not out alone, is called refused: %v", a.value, a.err)
			}
		case <-time.After(patience):
			t.Fatalf("%d answers", well+batch)
		}
	}
	if refusals.Load() != 2 || well < trial || batch != trial+200-well || batch < 2 {
		t.Errorf("%d refusals, %d arrived, %d failed with their batch: the trial did not end", refusals.Load(), well, batch)
	}
}

// A record is out alone, the relay is fenced meanwhile and has the slot again, and only
// then the record is refused.
func TestRefusedAfterTheSlotWasLost(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	cluster := kafkaserver.Fake(t)
	brokers := cluster.ListenAddrs()
	aggregate := kafkaserver.Name(t, "relay")
	kafkaserver.CreateTopic(t, brokers, "outbox.event."+aggregate, 1)
	alone, late := make(chan struct{}), make(chan struct{})
	end := sync.OnceFunc(func() { close(late) })
	t.Cleanup(end)
	refuseBatches(cluster, kerr.InvalidRecord, func(n int64) {
		if n == 2 {
			close(alone)
			cluster.SleepControl(func() { <-late })
		}
	})
	r := run(t, s.config(kafkaSink(t, brokers)))
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
		select $1, 'k' || i, 'T', convert_to(case i when 5 then 'poison' else i::text end, 'UTF8') from generate_series(1, 10) as i`, aggregate)
	<-alone
	var mine int64
	if err := s.pool.QueryRow(t.Context(), "update gapless.relay_progress set incarnation = incarnation + 1 where slot = $1 returning incarnation", s.slot).Scan(&mine); err != nil {
		t.Fatal(err) // another had it for a moment
	}
	// It is parked without being sent, so that the relay learns of it.
	s.exec(t, "insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ($1, 'big', 'T', convert_to(repeat('x', 1048576), 'UTF8'))", aggregate)
	testkit.Eventually(t, patience, func() error {
		var now int64
		err := s.pool.QueryRow(t.Context(), "select incarnation from gapless.relay_progress where slot = $1", s.slot).Scan(&now)
		if err == nil && now <= mine {
			err = fmt.Errorf("incarnation %d, status %+v", now, r.Status())
		}
		return err
	})
	end()
	testkit.Eventually(t, patience, func() error {
		got := s.parked(t)
		if len(got) != 2 || got[0] != "parked k5 poison refused" || !strings.HasSuffix(got[1], "too_large") {
			return fmt.Errorf("%d rows parked, status %+v", len(got), r.Status())
		}
		return nil
	})
}
