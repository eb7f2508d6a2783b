package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// SIGTERM under load: a clean end within 10 s, nothing left behind, and the next
// process goes on where this one ended.
func TestTerminatedUnderLoad(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 4)
	spec := child{DatabaseURL: d.LoginURL(t, pgtest.Consumer), Brokers: c.brokers, Name: c.name, Topic: c.topic, BatchSize: 10}
	const n = 3000
	var records []*kgo.Record
	for i := range n {
		records = append(records, c.record(int32(i%4), strconv.Itoa(i%40), "good"))
	}
	c.produce(t, records...)
	p := spec.start(t)
	d.waitForEffects(t, 100)
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t); code != 0 {
		t.Fatalf("child ended with %d", code)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
	done := d.int(t, "SELECT count(*) FROM effect")
	if got := c.committed(t); got != done {
		t.Errorf("%d offsets committed for %d effects", got, done)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.inbox_assignment"); got != 0 {
		t.Errorf("%d partitions not let go", got)
	}
	spec.start(t)
	d.waitForEffects(t, n)
	d.once(t, n)
	t.Logf("stopped after %d of %d", done, n)
}

// A handler that hangs does not hold the stop: its transaction is cut off, and
// the row that is left makes the next owner careful.
func TestStopCutsOffAHandlerThatHangs(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 1)
	c.produce(t, c.record(0, "a", "good"))
	hanging := make(chan struct{})
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, _ consumers.Tx, _ consumers.Delivery) error {
		close(hanging)
		<-ctx.Done()
		return ctx.Err()
	}
	config := c.config(d, consumer)
	config.DrainTimeout = 50 * time.Millisecond
	r := run(t, config)
	<-hanging
	r.end()
	if got := c.committed(t); got != 0 {
		t.Errorf("offset %d committed for a message that was not applied", got)
	}
	if got := d.int(t, "SELECT count(*) FROM gapless.inbox_assignment"); got != 1 {
		t.Errorf("%d assignments left behind, want 1", got)
	}
	r = run(t, c.config(d, effectConsumer()))
	d.waitForEffects(t, 1)
	r.end()
	d.once(t, 1)
}

// leftBehind makes the first partitions of the topic those of a process that died.
func leftBehind(t *testing.T, d *database, c *cluster, partitions int) {
	t.Helper()
	const dead = "INSERT INTO gapless.inbox_assignment (consumer, generation, topic, partition, member) SELECT $1, 1, $2, n, 'dead' FROM generate_series(0, $3::int - 1) AS n"
	if _, err := d.pool.Exec(t.Context(), dead, c.name, c.topic, partitions); err != nil {
		t.Fatal(err)
	}
}

// TestADeadProcessIsToldOfOnce, however many partitions it had.
func TestADeadProcessIsToldOfOnce(t *testing.T) {
	t.Parallel()
	const partitions = 12
	d, c := newDatabase(t), newCluster(t, partitions)
	leftBehind(t, d, c, partitions)
	c.produce(t, c.record(0, "a", "good"))
	var log testkit.Buffer
	config := c.config(d, effectConsumer())
	config.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r := run(t, config)
	d.waitForEffects(t, 1)
	const told = "left behind by a process that died"
	waitFor(t, func() error {
		if !strings.Contains(log.String(), "level=WARN msg=\"partitions were "+told) {
			return errors.New(log.String())
		}
		return nil
	})
	r.end()
	warned := 0
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, told) && strings.Contains(line, "level=WARN") {
			warned++
			if !strings.Contains(line, fmt.Sprintf(" partitions=%d", partitions)) {
				t.Errorf("count: %s", line)
			}
		}
	}
	if details := strings.Count(log.String(), "msg=\"partition was "+told); warned != 1 || details != partitions {
		t.Errorf("%d warnings, %d details: %s", warned, details, log.String())
	}
}

// TestWhatCameLaterIsNotSuspect: a process that died cannot have died of it.
func TestWhatCameLaterIsNotSuspect(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 1)
	leftBehind(t, d, c, 1)
	var mu sync.Mutex
	tries := map[string]int64{}
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		n := d.int(t, "SELECT coalesce(sum(attempts), 0) FROM gapless.inbox_attempt WHERE event_id = $1", m.ID)
		mu.Lock()
		tries[string(m.Key)] = n
		mu.Unlock()
		return applyEffect(ctx, tx, m)
	}
	c.produce(t, c.record(0, "a", "good"), c.record(0, "b", "good"))
	r := run(t, c.config(d, consumer))
	d.waitForEffects(t, 2)
	c.produce(t, c.record(0, "c", "good"))
	d.waitForEffects(t, 3)
	r.end()
	if want := map[string]int64{"a": 1, "b": 1, "c": 0}; !maps.Equal(tries, want) {
		t.Errorf("tries recorded before the handlers %v, want %v", tries, want)
	}
}

func TestNoBrokerIsWaitedForAndStopped(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	r := run(t, consumers.Config{Pool: d.pool, Brokers: []string{"127.0.0.1:1"}, Consumers: []consumers.Consumer{consumer}})
	waitFor(t, func() error { // it is up: its upkeep has reached the database
		if d.int(t, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%inbox_partitions_create%' AND pid <> pg_backend_pid()") == 0 {
			return errors.New("not running")
		}
		return nil
	})
	begun := time.Now()
	r.end()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

func TestUnmigratedDatabaseIsAnError(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	err := consumers.Run(t.Context(), consumers.Config{DatabaseURL: db.URL, Brokers: []string{"127.0.0.1:1"}, Consumers: []consumers.Consumer{effectConsumer()}})
	if err == nil || !strings.Contains(err.Error(), "gapless migrate up") {
		t.Errorf("got %v, want the remedy", err)
	}
}

// One partition's poison fails a transaction that other partitions share; theirs
// go on by themselves, while it is tried again.
func TestPartitionsThatShareATransactionFailAlone(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 8)
	var failing atomic.Bool
	failing.Store(true)
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if m.Partition == 3 && failing.Load() {
			return errors.New("not yet")
		}
		return applyEffect(ctx, tx, m)
	}
	const n = 800
	var records []*kgo.Record
	for i := range n {
		records = append(records, c.record(int32(i%8), strconv.Itoa(i), "good"))
	}
	c.produce(t, records...)
	config := c.config(d, consumer)
	config.MaxAttempts, config.Concurrency, config.RetryBackoff = 1<<30, 1, 10*time.Millisecond
	r := run(t, config)
	d.waitForEffects(t, n*7/8)
	waitFor(t, func() error {
		for _, p := range r.Status()[0].Partitions {
			if want := p.Partition == 3; (p.State == consumers.StateRetrying) != want {
				return fmt.Errorf("status %+v", p)
			}
		}
		return nil
	})
	failing.Store(false)
	d.waitForEffects(t, n)
	r.end()
	d.once(t, n)
	if got := d.int(t, "SELECT count(*) FROM gapless.inbox_attempt"); got != 0 {
		t.Errorf("%d attempts left behind", got)
	}
}

// What fails while RetryMessages wait behind it, as all do after an outage, is
// parked soon, but not before it was tried again after a pause.
func TestRetriesEndWhenTooManyWait(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 1)
	consumer := effectConsumer()
	var flaky atomic.Int32
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if string(m.Key) == "bad" || string(m.Key) == "flaky" && flaky.Add(1) <= 3 { // in the batch, and twice singly
			return errors.New("not now")
		}
		return applyEffect(ctx, tx, m)
	}
	records := []*kgo.Record{c.record(0, "flaky", ""), c.record(0, "bad", "")}
	for i := range 199 {
		records = append(records, c.record(0, strconv.Itoa(i), ""))
	}
	c.produce(t, records...)
	config := c.config(d, consumer)
	config.MaxAttempts, config.RetryFor, config.BatchSize, config.RetryMessages = 1<<30, time.Hour, 20, 100
	r := run(t, config)
	d.waitForEffects(t, 200)
	r.end()
	if got := d.text(t, "SELECT string_agg(convert_from(key, 'UTF8') || ' ' || attempts, ', ') FROM gapless.dead_letter"); got != "bad 3" {
		t.Errorf("dead letters %q, want the bad one after its third try", got)
	}
}

// Concurrency bounds all transactions of a consumer: the shared ones and those of
// lanes that try their messages singly.
func TestConcurrencyBoundsAllTransactions(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 4)
	var running, most, failures atomic.Int32
	consumer := effectConsumer()
	consumer.ApplyBatch = func(ctx context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
		now := running.Add(1)
		defer running.Add(-1)
		for n := most.Load(); now > n && !most.CompareAndSwap(n, now); n = most.Load() {
		}
		if _, err := tx.Exec(ctx, "SELECT pg_sleep(0.005)"); err != nil {
			return err
		}
		if len(batch) > 1 && batch[0].Partition%2 == 0 && failures.Add(1) < 30 {
			return errors.New("not together")
		}
		for _, m := range batch {
			if err := applyEffect(ctx, tx, m); err != nil {
				return err
			}
		}
		return nil
	}
	consumer.Apply = nil
	const n = 200
	var records []*kgo.Record
	for i := range n {
		records = append(records, c.record(int32(i%4), strconv.Itoa(i), ""))
	}
	c.produce(t, records...)
	config := c.config(d, consumer)
	config.BatchSize, config.Concurrency = 10, 1
	r := run(t, config)
	d.waitForEffects(t, n)
	r.end()
	d.once(t, n)
	if failures.Load() == 0 || most.Load() != 1 {
		t.Errorf("%d transactions at once after %d failures, want 1", most.Load(), failures.Load())
	}
}

// A process that takes another one's name ends it, instead of both fighting for
// the partitions.
func TestSecondProcessOfAnInstance(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 2)
	config := c.config(d, effectConsumer())
	config.Instance = "one"
	first, err := consumers.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Run(t.Context()) }()
	c.produce(t, c.record(0, "a", ""))
	d.waitForEffects(t, 1)

	second := run(t, config)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), `instance "one"`) {
		t.Errorf("the first one ended with %v", err)
	}
	c.produce(t, c.record(0, "b", ""), c.record(1, "c", ""))
	d.waitForEffects(t, 3)
	second.end()
	d.once(t, 3)
}

// The server is killed under load and comes back.
func TestPostgresDiesAndComesBack(t *testing.T) {
	t.Parallel()
	// What a server loses of its own commits nobody can bring back: see doc.go.
	server := pgtest.Server(t, map[string]string{"synchronous_commit": "on"})
	c := newCluster(t, 4)
	if _, err := goose.Up(t.Context(), goose.Config{DatabaseURL: server.SuperuserURL(), NoSlot: true}); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), server.SuperuserURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(t.Context(), "CREATE TABLE effect (event_id uuid NOT NULL, key text, value bytea, n bigserial)"); err != nil {
		t.Fatal(err)
	}
	d := &database{admin: pool, pool: pool}
	const n = 3000
	var records []*kgo.Record
	for i := range n {
		records = append(records, c.record(int32(i%4), strconv.Itoa(i%40), "good"))
	}
	c.produce(t, records...)
	config := c.config(d, effectConsumer())
	config.BatchSize, config.MaxAttempts = 10, 1
	r := run(t, config)
	d.waitForEffects(t, 100)
	crash(t, server)
	waitFor(t, func() error {
		var got int
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM effect").Scan(&got); err != nil {
			return fmt.Errorf("count effects: %w", err)
		}
		if got < n {
			return fmt.Errorf("%d effects of %d", got, n)
		}
		return nil
	})
	r.end()
	d.once(t, n)
	if got := d.int(t, "SELECT count(*) FROM gapless.dead_letter"); got != 0 {
		t.Errorf("%d dead letters for a database that was away", got)
	}
}

func crash(t *testing.T, s *pgserver.Server) {
	t.Helper()
	if err := s.Kill(t.Context()); err != nil {
		t.Fatalf("kill Postgres: %v", err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatalf("restart Postgres: %v", err)
	}
}
