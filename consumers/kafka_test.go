package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
)

// cluster is a topic with a consumer name of the test's own.
type cluster struct {
	brokers []string
	topic   string
	name    string
	client  *kgo.Client
	groups  *kadm.Client
}

func newCluster(t *testing.T, partitions int32) *cluster {
	t.Helper()
	c := &cluster{brokers: kafkaserver.ForTest(t)}
	c.topic = kafkaserver.Topic(t, c.brokers, "outbox.event.", partitions)
	c.name = kafkaserver.Name(t, "c")
	c.client = kafkaserver.Client(t, c.brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	c.groups = kadm.NewClient(c.client)
	return c
}

func (c *cluster) record(partition int32, key, value string) *kgo.Record {
	return c.recordWithID(partition, key, value, uuid.Must(uuid.NewV7()))
}

func (c *cluster) recordWithID(partition int32, key, value string, id uuid.UUID) *kgo.Record {
	return &kgo.Record{
		Topic: c.topic, Partition: partition, Key: []byte(key), Value: []byte(value),
		Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(id.String())}, {Key: "ce_type", Value: []byte("OrderPlaced")}},
	}
}

func (c *cluster) produce(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	if err := c.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// committed returns the sum of the group's committed offsets.
func (c *cluster) committed(t *testing.T) int64 {
	t.Helper()
	offsets, err := c.groups.FetchOffsets(t.Context(), contracts.Group(c.name, 1))
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0 // nobody has joined yet
	}
	if err != nil {
		t.Fatalf("fetch offsets: %v", err)
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(0, o.At) })
	return sum
}

func (c *cluster) config(d *database, consumer consumers.Consumer) consumers.Config {
	consumer.Name, consumer.Topics = c.name, []string{c.topic}
	return consumers.Config{
		Pool: d.pool, Brokers: c.brokers, RetryBackoff: time.Millisecond, Consumers: []consumers.Consumer{consumer},
		KafkaOptions: []kgo.Opt{kgo.SessionTimeout(minSession), kgo.HeartbeatInterval(500 * time.Millisecond)},
	}
}

// running is a Runner in this process.
type running struct {
	*consumers.Runner
	t    *testing.T
	stop context.CancelFunc
	done chan error
	once sync.Once
}

func run(t *testing.T, c consumers.Config) *running {
	t.Helper()
	r, err := consumers.New(c)
	if err != nil {
		t.Fatalf("make runner: %v", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	x := &running{Runner: r, t: t, stop: stop, done: make(chan error, 1)}
	go func() { x.done <- r.Run(ctx) }()
	t.Cleanup(x.end)
	return x
}

// end stops the runner and waits for it.
func (r *running) end() {
	r.once.Do(func() {
		r.stop()
		if err := <-r.done; err != nil {
			r.t.Errorf("run: %v", err)
		}
	})
}

func (d *database) waitForEffects(t *testing.T, n int64) {
	t.Helper()
	waitFor(t, func() error {
		if got := d.int(t, "SELECT count(*) FROM effect"); got < n {
			return fmt.Errorf("%d effects of %d", got, n)
		}
		return nil
	})
}

// once fails the test when an event had two effects.
func (d *database) once(t *testing.T, want int64) {
	t.Helper()
	all, distinct := d.int(t, "SELECT count(*) FROM effect"), d.int(t, "SELECT count(DISTINCT event_id) FROM effect")
	if all != want || distinct != want {
		t.Errorf("%d effects of %d events, want %d of each", all, distinct, want)
	}
}

func TestRunAppliesAndCommitsOffsets(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 4)
	const n = 2000
	var records []*kgo.Record
	for i := range n {
		records = append(records, c.record(int32(i%4), fmt.Sprintf("k%d", i%40), "good"))
	}
	c.produce(t, records...)
	registry := prometheus.NewPedanticRegistry()
	config := c.config(d, effectConsumer())
	config.Registerer = registry
	r := run(t, config)
	d.waitForEffects(t, n)
	if n := d.int(t, "SELECT count(DISTINCT xmin::text) FROM effect"); n > 100 {
		t.Errorf("%d transactions for 2000 events that were all there", n)
	}
	waitFor(t, func() error {
		for _, p := range r.Status()[0].Partitions {
			if p.Next != p.End || p.LagMessages != 0 || p.LagSeconds != 0 || p.State != consumers.StateRunning {
				return fmt.Errorf("status %+v", p)
			}
		}
		if got := testutil.CollectAndCount(mustGather(t, registry), "gapless_inbox_lag_messages"); got != 4 {
			return fmt.Errorf("lag of %d partitions in the metrics", got)
		}
		return nil
	})
	if got := r.Status()[0]; len(got.Partitions) != 4 || got.Group != contracts.Group(c.name, 1) {
		t.Errorf("status %+v", got)
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
	r.end()
	if got := c.committed(t); got != n {
		t.Errorf("committed offsets add up to %d, want %d", got, n)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.inbox_assignment"); got != 0 {
		t.Errorf("%d partitions not let go after a clean stop", got)
	}
	d.once(t, n)

	// The same again by another runner, and the same records once more by hand.
	c.produce(t, records[0], records[1], c.record(0, "last", "good"))
	r2 := run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, n+1)
	r2.end()
	d.once(t, n+1)
}

// mustGather lets testutil count what a registry gathers.
func mustGather(t *testing.T, r *prometheus.Registry) prometheus.Collector {
	t.Helper()
	return r
}

func TestDuplicatesAcrossPartitions(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 2)
	ids := make([]uuid.UUID, 300)
	var records []*kgo.Record
	for i := range ids {
		ids[i] = newID(t)
		records = append(records, c.recordWithID(0, strconv.Itoa(i), "good", ids[i]))
	}
	for i := range ids {
		records = append(records, c.recordWithID(1, strconv.Itoa(i), "good", ids[len(ids)-1-i]))
	}
	c.produce(t, records...)
	r := run(t, c.config(d, effectConsumer()))
	waitFor(t, func() error {
		if got := c.committed(t); got != 600 {
			return fmt.Errorf("%d of 600 settled", got)
		}
		return nil
	})
	r.end()
	d.once(t, 300)
}

func TestPoisonHoldsItsKeyAlone(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 3)
	c.produce(t, c.record(0, "k", "poison"), c.record(0, "k", "good"), c.record(0, "l", "good"), c.record(1, "m", "good"), c.record(0, "l", "good"))
	r := run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, 3)
	r.end()
	d.once(t, 3)
	if got := d.text(t, "SELECT convert_from(key, 'UTF8') FROM gapless.key_block"); got != "k" {
		t.Errorf("blocked %q, want k", got)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.key_block_message"); got != 1 {
		t.Errorf("%d messages wait, want 1", got)
	}
}

// Garbage on key K, then three good K and three good L, and kill -9 as soon as
// the garbage is parked: L applied, K held, in this process and the next.
func TestKilledProcessHoldsTheKey(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 1)
	spec := child{DatabaseURL: d.LoginURL(t, pgtest.Consumer), Brokers: c.brokers, Name: c.name, Topic: c.topic, Instance: c.name, MaxAttempts: 3}
	c.produce(t, c.record(0, "K", "poison"))
	first := spec.start(t)
	waitFor(t, func() error {
		if d.int(t, "SELECT count(*) FROM gapless.key_block") == 0 {
			return errors.New("nothing is blocked")
		}
		return nil
	})
	first.kill()
	for _, key := range []string{"K", "L", "K", "L", "K", "L"} {
		c.produce(t, c.record(0, key, "good"))
	}
	spec.start(t)
	d.waitForEffects(t, 3)
	waitFor(t, func() error {
		if got := d.int(t, "SELECT count(*) FROM gapless.key_block_message"); got != 3 {
			return fmt.Errorf("%d messages behind K", got)
		}
		return nil
	})
	if got := d.effects(t); got != "L L L" {
		t.Errorf("effects %q, want three L", got)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.dead_letter"); got != 1 {
		t.Errorf("%d dead letters, want 1", got)
	}
}

// A message that kills the process takes its batch with it each time, until it
// is found, singly, and parked.
func TestMessageThatKillsTheProcessIsFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ attempts, deaths int }{
		{2, 3}, // one in a batch, two recorded
		{3, 4}, // one more in a batch whose messages were recorded
	} {
		t.Run(fmt.Sprintf("max attempts %d", test.attempts), func(t *testing.T) {
			t.Parallel()
			killsTheProcess(t, test.attempts, test.deaths)
		})
	}
}

func killsTheProcess(t *testing.T, maxAttempts, wantDeaths int) {
	d, c := newDatabase(t), newCluster(t, 2)
	spec := child{DatabaseURL: d.LoginURL(t, pgtest.Consumer), Brokers: c.brokers, Name: c.name, Topic: c.topic, Instance: c.name, MaxAttempts: maxAttempts, BatchSize: 20}
	var records []*kgo.Record
	for i := range 100 {
		value := "good"
		if i == 50 {
			value = "exit"
		}
		records = append(records, c.record(int32(i%2), strconv.Itoa(i), value))
	}
	c.produce(t, records...)
	deaths := 0
	for {
		p := spec.start(t)
		isParked := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(isParked)
			waitForParked(ctx, d)
		}()
		select {
		case <-p.done:
			cancel()
			<-isParked
			if code := p.wait(t); code != 3 {
				t.Fatalf("child ended with %d", code)
			}
			if deaths++; deaths > 5 {
				t.Fatalf("%d deaths and the message is not found", deaths)
			}
			continue
		case <-isParked:
			cancel()
		}
		break
	}
	d.waitForEffects(t, 99)
	d.once(t, 99)
	if deaths != wantDeaths {
		t.Errorf("%d deaths, want %d", deaths, wantDeaths)
	}
	if got := d.text(t, "SELECT reason || ' ' || attempts FROM gapless.dead_letter"); got != fmt.Sprint(consumers.ReasonDied, " ", maxAttempts) {
		t.Errorf("dead letter %q", got)
	}
}

func waitForParked(ctx context.Context, d *database) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var n int
		if err := d.admin.QueryRow(ctx, "SELECT count(*) FROM gapless.dead_letter").Scan(&n); err != nil || n > 0 {
			return
		}
		<-tick.C
	}
}

func TestRebalanceAppliesOnce(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 8)
	const n = 6000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var producing sync.WaitGroup
	producing.Go(func() {
		for i := 0; i < n && ctx.Err() == nil; i += 20 {
			var records []*kgo.Record
			for j := range 20 {
				records = append(records, c.record(int32((i+j)%8), strconv.Itoa((i+j)%80), "good"))
			}
			if err := c.client.ProduceSync(ctx, records...).FirstErr(); err != nil && ctx.Err() == nil {
				t.Errorf("produce: %v", err)
			}
		}
	})
	first := run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, 500)
	second := run(t, c.config(d, effectConsumer()))
	waitFor(t, func() error {
		a, b := len(first.Status()[0].Partitions), len(second.Status()[0].Partitions)
		if a != 4 || b != 4 {
			return fmt.Errorf("partitions are %d and %d", a, b)
		}
		return nil
	})
	first.end()
	d.waitForEffects(t, n)
	producing.Wait()
	second.end()
	d.once(t, n)
	if got := c.committed(t); got != n {
		t.Errorf("committed offsets add up to %d, want %d", got, n)
	}
	// Order per key is the order of the topic.
	if got := d.int(t, `SELECT count(*) FROM (
		SELECT i."offset" < lag(i."offset") OVER (PARTITION BY i.partition ORDER BY e.n) AS inverted
		FROM effect AS e JOIN gapless.inbox AS i USING (event_id)) AS o WHERE inverted`); got != 0 {
		t.Errorf("%d effects out of order", got)
	}
}

func TestDependencyDownPausesItsPartitionAlone(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 2)
	var isUp atomic.Bool
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if string(m.Key) == "down" && !isUp.Load() {
			return consumers.Unavailable(errors.New("the provider does not answer"))
		}
		return applyEffect(ctx, tx, m)
	}
	c.produce(t, c.record(0, "a", ""), c.record(0, "down", ""), c.record(0, "b", ""), c.record(1, "x", ""), c.record(1, "y", ""))
	config := c.config(d, consumer)
	config.MaxAttempts, config.RetryFor = 1, time.Millisecond
	r := run(t, config)
	waitFor(t, func() error {
		for _, p := range r.Status()[0].Partitions {
			if p.Partition == 0 && p.State == consumers.StateHeld && strings.Contains(p.Error, "provider") {
				return nil
			}
		}
		return fmt.Errorf("status %+v", r.Status())
	})
	d.waitForEffects(t, 3) // a, x, y: what comes before, and the other partition
	if got := d.int(t, "SELECT count(*) FROM gapless.dead_letter"); got != 0 {
		t.Errorf("%d dead letters", got)
	}
	isUp.Store(true)
	d.waitForEffects(t, 5)
	if got := d.text(t, "SELECT string_agg(e.key, ' ' ORDER BY n) FROM effect AS e JOIN gapless.inbox AS i USING (event_id) WHERE i.partition = 0"); got != "a down b" {
		t.Errorf("effects of the partition %q", got)
	}
	r.end()
}

// Backends that are terminated under load lose no event and repeat none.
func TestLostConnections(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 4)
	const n, enough = 4000, 100
	var records []*kgo.Record
	for i := range n {
		records = append(records, c.record(int32(i%4), strconv.Itoa(i%40), "good"))
	}
	c.produce(t, records...)
	config := c.config(d, effectConsumer())
	config.BatchSize, config.MaxAttempts = 50, 1
	r := run(t, config)
	killed := int64(0)
	waitFor(t, func() error {
		if killed < enough { // a slow machine would have each transaction cut
			killed += d.int(t, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'test_gapless_consumer' AND datname = current_database() AND state LIKE '%transaction%'")
		}
		if got := d.int(t, "SELECT count(*) FROM effect"); got < n {
			return fmt.Errorf("%d effects of %d", got, n)
		}
		return nil
	})
	r.end()
	if killed == 0 {
		t.Error("the fault did not fire: no transaction was cut")
	}
	t.Logf("%d transactions cut", killed)
	d.once(t, n)
	if got := d.int(t, "SELECT count(*) FROM gapless.dead_letter"); got != 0 {
		t.Errorf("%d dead letters for a database that was away", got)
	}
}
