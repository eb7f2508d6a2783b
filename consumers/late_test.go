package consumers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/internal/testkit"
)

// gates hold calls of Prepare by value until they are opened.
type gates struct {
	mu     sync.Mutex
	closed map[string]chan struct{}
	calls  []string // values, in the order of the calls
}

func (g *gates) prepare(ctx context.Context, m *consumers.Message) (any, error) {
	g.mu.Lock()
	g.calls = append(g.calls, string(m.Value))
	gate := g.closed[string(m.Value)]
	g.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return "ready", nil
}

func (g *gates) called(value string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, v := range g.calls {
		if v == value {
			n++
		}
	}
	return n
}

// The effects of a topic in which each value is the key and a number.
func (d *database) valuesOf(t *testing.T, key string) string {
	t.Helper()
	return d.text(t, "SELECT coalesce(string_agg(convert_from(value, 'UTF8'), ' ' ORDER BY n), '') FROM effect WHERE key = '"+key+"'")
}

// One call that takes long holds its key: neither other keys, nor their offsets'
// claims, nor the next owner's work. Its own key stays in order, and no call is
// made for a message before the one ahead of it in its key is settled.
func TestSlowPrepareHoldsItsKeyAlone(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 1)
	g := &gates{closed: map[string]chan struct{}{"a1": make(chan struct{})}}
	consumer := effectConsumer()
	consumer.Prepare = g.prepare
	c.produce(t, c.record(0, "b", "b1"), c.record(0, "a", "a1"), c.record(0, "a", "a2"))
	for i := range 300 {
		c.produce(t, c.record(0, "b", fmt.Sprintf("b%d", i+2)))
		if i%100 == 0 {
			c.produce(t, c.record(0, "a", fmt.Sprintf("a%d", i/100+3)))
		}
	}
	r := run(t, c.config(d, consumer))
	d.waitForEffects(t, 301)
	if got := d.valuesOf(t, "a"); got != "" {
		t.Errorf("effects %q of the key whose first call is under way", got)
	}
	if n := g.called("a2"); n != 0 {
		t.Errorf("%d calls for a message whose predecessor is not settled", n)
	}
	if got := r.Status()[0].Partitions[0].Next; got != 1 {
		t.Errorf("next offset %d: one past a message without an outcome", got)
	}
	r.end()
	if got := c.committed(t); got != 1 {
		t.Errorf("committed offset %d, want 1: what comes after the slow message must come again", got)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.inbox_assignment"); got != 0 {
		t.Errorf("%d partitions not let go", got)
	}

	// The next owner finds the claims, calls again for what was under way, and
	// keeps the key's order.
	close(g.closed["a1"])
	r = run(t, c.config(d, consumer))
	d.waitForEffects(t, 306)
	r.end()
	d.once(t, 306)
	if got := d.valuesOf(t, "a"); got != "a1 a2 a3 a4 a5" {
		t.Errorf("effects of the key: %q", got)
	}
	if n := g.called("b7"); n != 1 {
		t.Errorf("%d calls for a message that was claimed", n)
	}
	if got := c.committed(t); got != 306 {
		t.Errorf("committed offset %d, want 306", got)
	}
}

// A message nobody can read, behind a slow one of its key, is parked after it,
// not before: its block would hold the slow one back.
func TestPoisonWaitsForTheSlowOneAheadOfIt(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 1)
	g := &gates{closed: map[string]chan struct{}{"a1": make(chan struct{})}}
	consumer := effectConsumer()
	consumer.Types = []string{"OrderPlaced"}
	consumer.Prepare = g.prepare
	mute := c.record(0, "a", "mute")
	mute.Headers = mute.Headers[:1] // no ce_type
	c.produce(t, c.record(0, "a", "a1"), mute, c.record(0, "a", "a2"), c.record(0, "b", "b1"))
	run(t, c.config(d, consumer))
	d.waitForEffects(t, 1)
	if n := d.int(t, "SELECT count(*) FROM gapless.dead_letter"); n != 0 {
		t.Fatalf("%d dead letters before the message ahead is settled", n)
	}
	close(g.closed["a1"])
	waitFor(t, func() error {
		if got := d.text(t, "SELECT string_agg(outcome, ' ' ORDER BY \"offset\") FROM gapless.inbox"); got != "applied parked waiting applied" {
			return fmt.Errorf("outcomes %q", got)
		}
		return nil
	})
	if got := d.valuesOf(t, "a"); got != "a1" {
		t.Errorf("effects of the key: %q", got)
	}
}

// Calls of any length, keys of any crowding, stops at any moment: each event has
// its effect once, each key in order.
func TestLateMessagesAtRandom(t *testing.T) {
	t.Parallel()
	seed := testkit.Seed(t)
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	d, c := newDatabase(t), newCluster(t, 2)
	consumer := effectConsumer()
	delays := make(map[string]time.Duration)
	counts := make(map[string]int)
	const total = 1500
	for range total {
		key := fmt.Sprintf("k%d", random.IntN(40))
		counts[key]++
		value := fmt.Sprintf("%s-%d", key, counts[key])
		if random.IntN(20) == 0 {
			delays[value] = time.Duration(random.IntN(120)) * time.Millisecond
		}
		partition := int32(0)
		if strings.HasSuffix(key, "3") || strings.HasSuffix(key, "7") {
			partition = 1
		}
		c.produce(t, c.record(partition, key, value))
	}
	consumer.Prepare = func(ctx context.Context, m *consumers.Message) (any, error) {
		select {
		case <-time.After(delays[string(m.Value)]):
			return "ready", nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	apply := consumer.Apply
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if m.Prepared != "ready" {
			return fmt.Errorf("applied without its preparation: %v", m.Prepared)
		}
		return apply(ctx, tx, m)
	}
	config := c.config(d, consumer)
	config.BatchSize, config.RetryMessages = 1+random.IntN(200), -1
	for d.int(t, "SELECT count(*) FROM effect") < total {
		r := run(t, config)
		stop := time.After(time.Duration(random.IntN(1500)) * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case <-stop:
				waiting = false
			case <-time.After(20 * time.Millisecond):
				waiting = d.int(t, "SELECT count(*) FROM effect") < total
			}
		}
		r.end()
	}
	d.once(t, total)
	if n := d.int(t, "SELECT count(*) FROM gapless.dead_letter"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	for key, n := range counts {
		want := make([]string, n)
		for i := range want {
			want[i] = fmt.Sprintf("%s-%d", key, i+1)
		}
		if got := strings.Fields(d.valuesOf(t, key)); !slices.Equal(got, want) {
			t.Errorf("effects of %s out of order: %v", key, got)
		}
	}
}

// A transaction that is tried again keeps each key's order, and is tried again:
// what was ready does not find itself behind what comes after it.
func TestRetriedTransactionKeepsOrder(t *testing.T) {
	t.Parallel()
	flaky := func(failures int32) consumers.Consumer {
		consumer := effectConsumer()
		consumer.Prepare = func(context.Context, *consumers.Message) (any, error) { return "ready", nil }
		apply := consumer.Apply
		var n atomic.Int32
		consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
			if n.Add(1) <= failures {
				return &pgconn.PgError{Code: "40001", Message: "planted"}
			}
			return apply(ctx, tx, m)
		}
		return consumer
	}
	d := newDatabase(t)
	in := newInbox(t, consumers.Config{Pool: d.pool}, flaky(1))
	process(t, in, message(t, 0, "a", "a1"), message(t, 1, "a", "a2"))
	if got := d.valuesOf(t, "a"); got != "a1 a2" {
		t.Errorf("effects of the key: %q", got)
	}
	d, c := newDatabase(t), newCluster(t, 1)
	c.produce(t, c.record(0, "a", "a1"), c.record(0, "a", "a2"))
	run(t, c.config(d, flaky(3)))
	d.waitForEffects(t, 2)
	if got := d.valuesOf(t, "a"); got != "a1 a2" {
		t.Errorf("effects of the key: %q", got)
	}
}
