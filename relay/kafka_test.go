package relay_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

func kafkaSink(t testing.TB, brokers []string, opts ...kgo.Opt) *relay.KafkaSink {
	t.Helper()
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{
		Brokers: brokers, Logger: slog.New(slog.DiscardHandler),
		Options: append(opts, kgo.MetadataMinAge(50*time.Millisecond)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// tail collects what is in a topic.
type tail struct {
	mu      sync.Mutex
	records []*kgo.Record
}

func follow(t testing.TB, brokers []string, topic string) *tail {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var f tail
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.records = append(f.records, r)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
		client.Close()
	})
	return &f
}

func (f *tail) has(t testing.TB, n int) []*kgo.Record {
	t.Helper()
	var got []*kgo.Record
	testkit.Eventually(t, patience, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if got = f.records; len(got) < n {
			return fmt.Errorf("%d records, want %d", len(got), n)
		}
		return nil
	})
	return got
}

func (s *setup) appendTo(t testing.TB, aggregate string, n int) {
	t.Helper()
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, aggregate_version, type, payload)
		select $1, 'k-' || i % 7, i, 'T', convert_to(i::text, 'UTF8') from generate_series(1, $2::int) as i`, aggregate, n)
}

func TestKafkaKeepsOrderPerKey(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	aggregate := kafkaserver.Name(t, "relay")
	topic := "outbox.event." + aggregate
	kafkaserver.CreateTopic(t, brokers, topic, 4)
	r := run(t, s.config(kafkaSink(t, brokers)))
	s.appendTo(t, aggregate, 5000)
	partition := map[string]int32{}
	newest := map[string]int{}
	for _, rec := range follow(t, brokers, topic).has(t, 5000) {
		key := string(rec.Key)
		if p, ok := partition[key]; ok && p != rec.Partition {
			t.Fatalf("key %s is on partitions %d and %d", key, p, rec.Partition)
		}
		partition[key] = rec.Partition
		n, err := strconv.Atoi(string(rec.Value))
		if err != nil {
			t.Fatal(err)
		}
		if n <= newest[key] {
			t.Fatalf("key %s: %d after %d", key, n, newest[key])
		}
		newest[key] = n
	}
	// The Java client's murmur2 puts these there, for 4 partitions.
	if len(partition) != 7 {
		t.Errorf("%d keys", len(partition))
	}
	s.stored(t, r, 5000)
}

// golden/eventrouter.json: Debezium's Java producer put k1 on partition 1 and
// k3 on partition 0 of 4.
func TestKafkaPartitionsAsTheJavaClient(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	aggregate := kafkaserver.Name(t, "relay")
	topic := "outbox.event." + aggregate
	kafkaserver.CreateTopic(t, brokers, topic, 4)
	run(t, s.config(kafkaSink(t, brokers)))
	for _, key := range []string{"k1", "k2", "k3"} {
		s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type) values ($1, $2, 'T')`, aggregate, key)
	}
	for _, rec := range follow(t, brokers, topic).has(t, 3) {
		if want := map[string]int32{"k1": 1, "k2": 1, "k3": 0}[string(rec.Key)]; rec.Partition != want {
			t.Errorf("key %s is on partition %d, want %d", rec.Key, rec.Partition, want)
		}
	}
}

// A writer that makes up topics holds those rows alone: the stream does not begin again for
// each, other keys go on, and the log says each name once.
func TestKafkaMadeUpTopicsAreHeldAlone(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	there := kafkaserver.Name(t, "there")
	kafkaserver.CreateTopic(t, brokers, "outbox.event."+there, 1)
	config := s.config(kafkaSink(t, brokers))
	var log testkit.Buffer
	config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := run(t, config)
	const names = 20
	for i := range names {
		s.appendTo(t, kafkaserver.Name(t, fmt.Sprint("made-up-", i)), 2)
		s.appendTo(t, there, 1)
		follow(t, brokers, "outbox.event."+there).has(t, i+1)
	}
	held := func(reconnects uint64) {
		t.Helper()
		testkit.Eventually(t, patience, func() error {
			if st := r.Status(); st.State != relay.Streaming || st.Held != 2*names || st.InFlight != 0 || st.Reconnects != reconnects {
				return fmt.Errorf("%+v", st)
			}
			if n := strings.Count(log.String(), "topic takes nothing"); n != names {
				return fmt.Errorf("%d names are told", n)
			}
			return nil
		})
	}
	held(0)
	s.exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active", s.slot)
	held(1)
	if got := s.parked(t); len(got) != 0 {
		t.Errorf("parked %q", got)
	}
}

// A topic that is not there holds its own rows, and those alone.
func TestKafkaUnknownTopicIsHeld(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	aggregate := kafkaserver.Name(t, "relay")
	topic := "outbox.event." + aggregate
	other := kafkaserver.Name(t, "beside")
	kafkaserver.CreateTopic(t, brokers, "outbox.event."+other, 1)
	r := run(t, s.config(kafkaSink(t, brokers)))
	s.appendTo(t, aggregate, 3)
	s.appendTo(t, other, 5)
	s.appendTo(t, aggregate, 3)
	beside := follow(t, brokers, "outbox.event."+other)
	beside.has(t, 5)
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.State != relay.Streaming || st.Held != 6 || !strings.Contains(st.Reason, topic) || st.InFlight != 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	kafkaserver.CreateTopic(t, brokers, topic, 1)
	var values []string
	for _, rec := range follow(t, brokers, topic).has(t, 6) {
		values = append(values, string(rec.Value))
	}
	if got := strings.Join(values, " "); got != "1 2 3 1 2 3" {
		t.Errorf("got %s", got)
	}
	r.become(relay.Streaming)
	s.stored(t, r, 11)
	if n := len(beside.has(t, 5)); n != 5 {
		t.Errorf("%d records beside: sent again", n)
	}
	if got := s.parked(t); len(got) != 0 {
		t.Errorf("parked %q", got)
	}
}

func TestKafkaTooLargeIsParked(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	aggregate := kafkaserver.Name(t, "relay")
	topic := "outbox.event." + aggregate
	kafkaserver.CreateTopic(t, brokers, topic, 1)
	r := run(t, s.config(kafkaSink(t, brokers)))
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values
		($1, 'big', 'T', convert_to(repeat('x', 1048576), 'UTF8')), ($1, 'big', 'T', 'behind'), ($1, 'small', 'T', 'beside')`, aggregate)
	if got := follow(t, brokers, topic).has(t, 1); string(got[0].Key) != "small" {
		t.Errorf("first record has key %s", got[0].Key)
	}
	s.stored(t, r, 3)
	if got := s.parked(t); len(got) != 2 || !strings.HasSuffix(got[0], "too_large") || !strings.HasPrefix(got[1], "waiting big behind") {
		t.Errorf("%d rows are parked", len(got))
	}
}

// A topic with a lower limit than ours: found out at the first refusal, and
// then only the record that is too large by itself is parked.
func TestKafkaTopicLimitIsLearned(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	topic := kafkaserver.LimitedTopic(t, brokers, "outbox.event.", 20_000)
	aggregate := strings.TrimPrefix(topic, "outbox.event.")
	r := run(t, s.config(kafkaSink(t, brokers)))
	s.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
		select $1, 'k' || i, 'T', convert_to(repeat('x', case i when 30 then 50000 else 3000 end), 'UTF8') from generate_series(1, 40) as i`, aggregate)
	seen := map[string]bool{}
	testkit.Eventually(t, patience, func() error {
		if st := r.Status(); st.Parked != 1 || st.InFlight != 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	f := follow(t, brokers, topic)
	testkit.Eventually(t, patience, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, rec := range f.records {
			seen[string(rec.Key)] = true
		}
		if len(seen) != 39 || seen["k30"] {
			return fmt.Errorf("%d keys", len(seen))
		}
		return nil
	})
	// The limit is raised under the running relay, and the row redriven.
	raise(t, brokers, topic, 100_000)
	s.finished(t, s.request(t, "redrive"))
	testkit.Eventually(t, patience, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		last := f.records[len(f.records)-1]
		if string(last.Key) != "k30" || len(last.Value) != 50000 {
			return fmt.Errorf("key %s, %d bytes", last.Key, len(last.Value))
		}
		return nil
	})
}

// losing is a connection to a broker whose first answer to a produce request is lost: it
// has come, and with it the connection goes.
type losing struct {
	net.Conn
	lost     *atomic.Int64
	produced atomic.Bool
}

func (c *losing) Write(b []byte) (int, error) {
	if len(b) > 6 && int16(binary.BigEndian.Uint16(b[4:])) == int16(kmsg.Produce) { // behind the length
		c.produced.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *losing) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.produced.Load() && c.lost.CompareAndSwap(0, 1) {
		return 0, errors.Join(errors.New("cut"), c.Close())
	}
	return n, err
}

// The broker has taken a batch and its answer is lost: nothing is lost with it, nothing is
// out of order, and no record comes twice.
func TestKafkaLostAnswer(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	brokers := kafkaserver.ForTest(t)
	aggregate := kafkaserver.Name(t, "relay")
	topic := "outbox.event." + aggregate
	kafkaserver.CreateTopic(t, brokers, topic, 1)
	var lost atomic.Int64
	sink := kafkaSink(t, brokers, kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &losing{Conn: conn, lost: &lost}, err
	}))
	r := run(t, s.config(sink))
	s.appendTo(t, aggregate, 100)
	s.stored(t, r, 100)
	if lost.Load() != 1 {
		t.Fatal("no answer was lost")
	}
	for i, rec := range follow(t, brokers, topic).has(t, 100) {
		if string(rec.Value) != strconv.Itoa(i+1) {
			t.Fatalf("record %d is %s", i+1, rec.Value)
		}
	}
	ends, err := kadm.NewClient(kafkaserver.Client(t, brokers)).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := ends.Lookup(topic, 0); end.Err != nil || end.Offset != 100 {
		t.Errorf("the topic ends at %d, %v", end.Offset, end.Err)
	}
}

// A right that is missing holds; when it is there, everything goes.
func TestKafkaNotAuthorizedHolds(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	cluster := kafkaserver.Fake(t)
	brokers := cluster.ListenAddrs()
	aggregate := kafkaserver.Name(t, "relay")
	topic := "outbox.event." + aggregate
	kafkaserver.CreateTopic(t, brokers, topic, 1)
	fired := 0
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if fired++; fired > 2 {
			return nil, nil, false
		}
		cluster.KeepControl()
		return answer(req.(*kmsg.ProduceRequest), kerr.TopicAuthorizationFailed.Code), nil, true
	})
	r := run(t, s.config(kafkaSink(t, brokers)))
	s.appendTo(t, aggregate, 10)
	follow(t, brokers, topic).has(t, 10)
	s.stored(t, r, 10)
	if st := r.Status(); st.Reconnects == 0 || st.Parked != 0 {
		t.Errorf("%+v", st)
	}
}

// answer refuses every batch of the request.
func answer(req *kmsg.ProduceRequest, code int16) *kmsg.ProduceResponse {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, rt := range req.Topics {
		st := kmsg.NewProduceResponseTopic()
		st.Topic, st.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			sp := kmsg.NewProduceResponseTopicPartition()
			sp.Partition, sp.ErrorCode = rp.Partition, code
			st.Partitions = append(st.Partitions, sp)
		}
		resp.Topics = append(resp.Topics, st)
	}
	return resp
}

func TestKafkaConfig(t *testing.T) {
	t.Parallel()
	for _, cfg := range []relay.KafkaConfig{
		{},
		{Brokers: []string{"127.0.0.1:9092"}, MaxRecordBytes: 10},
		{Brokers: []string{"127.0.0.1:9092"}, Options: []kgo.Opt{kgo.DisableIdempotentWrite()}},
		{Brokers: []string{"127.0.0.1:9092"}, Options: []kgo.Opt{kgo.AllowAutoTopicCreation()}},
		{Brokers: []string{"127.0.0.1:9092"}, Options: []kgo.Opt{kgo.ClientID("")}, MaxRecordBytes: -1},
		{Options: []kgo.Opt{kgo.DialTLS()}},
	} {
		if sink, err := relay.NewKafkaSink(cfg); err == nil || sink != nil {
			t.Errorf("%+v: sink %v, error %v", cfg, sink, err)
		}
	}
}

// Between a refusal and Reset nothing may be sent: it would land before what was
// refused and is sent again.
func TestKafkaSendsNothingBehindARefusal(t *testing.T) {
	t.Parallel()
	cluster := kafkaserver.Fake(t)
	topic := kafkaserver.Topic(t, cluster.ListenAddrs(), "refused.", 1)
	sink := loneSink(t, cluster.ListenAddrs())
	refused := false
	cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		refused = true
		produce := request.(*kmsg.ProduceRequest)
		response := produce.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range produce.Topics {
			topicResponse := kmsg.ProduceResponseTopic{Topic: rt.Topic, TopicID: rt.TopicID}
			for _, rp := range rt.Partitions {
				p := kmsg.NewProduceResponseTopicPartition()
				p.Partition, p.ErrorCode = rp.Partition, kerr.TopicAuthorizationFailed.Code
				topicResponse.Partitions = append(topicResponse.Partitions, p)
			}
			response.Topics = append(response.Topics, topicResponse)
		}
		return response, nil, true
	})
	acks := make(chan error, 4)
	ack := func(_ *format.Record, err error) { acks <- err }
	record := func(value string) *format.Record {
		return &format.Record{Topic: topic, Key: []byte("k"), Value: []byte(value)}
	}
	if err := sink.Send(record("1"), ack); err != nil {
		t.Fatal(err)
	}
	if err := <-acks; err == nil || !refused {
		t.Fatalf("the first record was not refused: %v, %t", err, refused)
	}
	if err := sink.Send(record("2"), ack); err == nil {
		t.Fatal("a record was taken behind a refused one")
	}
	if err := sink.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"1", "2"} {
		if err := sink.Send(record(value), ack); err != nil {
			t.Fatal(err)
		}
		if err := <-acks; err != nil {
			t.Fatal(err)
		}
	}
}
