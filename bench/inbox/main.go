package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
)

const upsert = "INSERT INTO total (key, n) VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET n = total.n + 1"

type options struct {
	brokers     string
	events      int
	keys        int
	partitions  int
	rounds      int
	batch       int
	concurrency int
}

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", os.Getenv("GAPLESS_TEST_BROKERS"), "bootstrap servers of a real Kafka")
	flag.IntVar(&o.events, "events", 300_000, "events in the topic")
	flag.IntVar(&o.keys, "keys", 10_000, "distinct keys, each a row")
	flag.IntVar(&o.partitions, "partitions", 32, "partitions of the topic")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds; medians are printed")
	flag.IntVar(&o.batch, "batch", 0, "events in a transaction; 0 is the package's default")
	flag.IntVar(&o.concurrency, "concurrency", 0, "transactions at once; 0 is the package's default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "inbox:", err)
		stop()
		os.Exit(1)
	}
}

// bed is what the contenders stand on.
type bed struct {
	options
	seeds []string
	url   string
	pool  *pgxpool.Pool
	topic string
}

// result of one run.
type result struct {
	events int
	took   time.Duration
	cpu    time.Duration // of this process, client library included
}

func (r result) perSecond() float64 { return float64(r.events) / r.took.Seconds() }

func run(ctx context.Context, o options) error {
	if o.brokers == "" {
		return errors.New("-brokers is not set (nor GAPLESS_TEST_BROKERS)")
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{Durable: true})
	if err != nil {
		return err
	}
	defer func() {
		if err := pg.Stop(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "inbox: stop Postgres:", err)
		}
	}()
	b := &bed{options: o, seeds: strings.Split(o.brokers, ","), url: pg.SuperuserURL(), topic: "outbox.event.bench" + uuid.NewString()[:8]}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer b.pool.Close()
	defer b.drop(ctx)

	contenders := []struct {
		name string
		run  func(context.Context) (result, error)
	}{{"gapless", b.gapless}, {"no-inbox", b.noInbox}, {"per-event", b.perEvent}}
	results := make(map[string][]result)
	for round := range o.rounds {
		for _, c := range contenders {
			if _, err := b.pool.Exec(ctx, "TRUNCATE total, gapless.inbox; CHECKPOINT"); err != nil {
				return fmt.Errorf("empty tables: %w", err)
			}
			r, err := c.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if err := b.check(ctx, r); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			results[c.name] = append(results[c.name], r)
			fmt.Fprintf(os.Stderr, "round %d %-9s %8.0f events/s  %5.1f µs CPU an event\n", round+1, c.name, r.perSecond(), r.cpu.Seconds()*1e6/float64(r.events))
		}
	}
	if err := b.describe(ctx); err != nil {
		return err
	}
	fmt.Println("| contender | events/s, median | worst | best | client CPU an event |")
	fmt.Println("| --- | --- | --- | --- | --- |")
	for _, c := range contenders {
		list := results[c.name]
		slices.SortFunc(list, func(a, b result) int { return int(a.perSecond() - b.perSecond()) })
		m := list[len(list)/2]
		fmt.Printf("| %s | %.0f | %.0f | %.0f | %.1f µs |\n", c.name, m.perSecond(), list[0].perSecond(), list[len(list)-1].perSecond(),
			m.cpu.Seconds()*1e6/float64(m.events))
	}
	return nil
}

// prepare migrates, makes the topic and fills it.
func (b *bed) prepare(ctx context.Context) error {
	if _, err := goose.Up(ctx, goose.Config{DatabaseURL: b.url, NoSlot: true}); err != nil {
		return err
	}
	var err error
	if b.pool, err = pgxpool.New(ctx, b.url); err != nil {
		return fmt.Errorf("open pool: %w", err)
	}
	if _, err := b.pool.Exec(ctx, "CREATE TABLE total (key text PRIMARY KEY, n bigint NOT NULL)"); err != nil {
		return fmt.Errorf("create table: %w", err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.seeds...), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, int32(b.partitions), 1, nil, b.topic); err != nil {
		return fmt.Errorf("create topic: %w", err)
	}
	var failed error
	payload := []byte(strings.Repeat("x", 300))
	for i := range b.events {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("make id: %w", err)
		}
		client.Produce(ctx, &kgo.Record{
			Topic: b.topic, Key: fmt.Appendf(nil, "order-%d", i%b.keys), Value: payload,
			Headers: []kgo.RecordHeader{
				{Key: "id", Value: []byte(id.String())},
				{Key: "ce_id", Value: []byte(id.String())},
				{Key: "ce_type", Value: []byte("OrderPlaced")},
				{Key: "content-type", Value: []byte("application/json")},
				{Key: "gapless_position", Value: []byte("1/0/16B3748/0")},
			},
		}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err // callbacks come one after another
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	return failed
}

func (b *bed) drop(ctx context.Context) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.seeds...))
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopic(context.WithoutCancel(ctx), b.topic); err != nil {
		fmt.Fprintln(os.Stderr, "inbox: delete topic:", err)
	}
}

// check proves that what was measured was done: each event counted once.
func (b *bed) check(ctx context.Context, r result) error {
	var sum int
	if err := b.pool.QueryRow(ctx, "SELECT coalesce(sum(n), 0) FROM total").Scan(&sum); err != nil {
		return fmt.Errorf("add up: %w", err)
	}
	if sum != r.events {
		return fmt.Errorf("%d effects of %d events", sum, r.events)
	}
	return nil
}

func (b *bed) describe(ctx context.Context) error {
	var postgres string
	if err := b.pool.QueryRow(ctx, "SHOW server_version").Scan(&postgres); err != nil {
		return fmt.Errorf("ask version: %w", err)
	}
	kafka, err := kafkaserver.BrokerVersion(ctx, b.seeds)
	if err != nil {
		return err
	}
	fmt.Printf("%d events of %d keys in %d partitions, %d rounds; %d CPUs, %s, PostgreSQL %s (durable), Kafka %s\n\n",
		b.events, b.keys, b.partitions, b.rounds, runtime.NumCPU(), runtime.Version(), postgres, kafka)
	return nil
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pipeline runs the statements of batch between BEGIN and COMMIT.
func pipeline(ctx context.Context, pool *pgxpool.Pool, queue func(*pgx.Batch)) error {
	var batch pgx.Batch
	batch.Queue("BEGIN")
	queue(&batch)
	batch.Queue("COMMIT")
	return pool.SendBatch(ctx, &batch).Close()
}
