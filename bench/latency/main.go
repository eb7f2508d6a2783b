package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/process"
	"github.com/gapless/gapless/outbox"
)

type options struct {
	brokers string
	rate    int
	window  time.Duration
	runs    int
	starts  int
	warm    int
	binary  string

	debezium, replay bool
	out              string
}

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", os.Getenv("GAPLESS_TEST_BROKERS"), "bootstrap servers of a real Kafka")
	flag.IntVar(&o.rate, "rate", 500, "transactions a second")
	flag.DurationVar(&o.window, "for", 30*time.Second, "length of a run")
	flag.IntVar(&o.runs, "runs", 5, "runs; medians of their quantiles are printed")
	flag.IntVar(&o.starts, "starts", 9, "starts of the relay to measure")
	flag.IntVar(&o.warm, "warm", 2, "turns of each before those that are measured, until broker and worker are compiled")
	flag.BoolVar(&o.debezium, "debezium", false, "measure Debezium on Kafka Connect, too, in turns with the relay")
	flag.StringVar(&o.out, "out", "", "file for the medians as JSON")
	flag.BoolVar(&o.replay, "replay", false, "measure the relay beside a replay at its default rate, too")
	flag.StringVar(&o.binary, "binary", "", "gapless; empty builds it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		stop()
		os.Exit(1)
	}
}

// stage is what both measurements stand on.
type stage struct {
	options
	env      []string
	url      string // of the database
	pool     *pgxpool.Pool
	consumer *kgo.Client

	mu      sync.Mutex
	topic   string // of the contender that runs; what comes in another counts for nothing
	arrived map[uuid.UUID]time.Time
	news    chan struct{} // has room for one: something arrived
}

func run(ctx context.Context, o options) (err error) {
	if o.brokers == "" {
		return errors.New("-brokers is not set (nor GAPLESS_TEST_BROKERS)")
	}
	dir, err := os.MkdirTemp("", "gapless-latency-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.binary == "" {
		if o.binary, err = bed.Build(ctx, dir); err != nil {
			return err
		}
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{Durable: true})
	if err != nil {
		return err
	}
	defer func() {
		if err := pg.Stop(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "latency: stop Postgres:", err)
		}
	}()
	b := &stage{options: o, url: pg.SuperuserURL(), topic: relayTopic, arrived: make(map[uuid.UUID]time.Time), news: make(chan struct{}, 1)}
	b.env = append(os.Environ(), "GAPLESS_DATABASE_URL="+pg.SuperuserURL(), "GAPLESS_BROKERS="+o.brokers,
		"GAPLESS_LOG_LEVEL=warn", "GAPLESS_OPS_LISTEN=127.0.0.1:0")
	for _, args := range [][]string{{"migrate", "up"}, {"topics", "apply", "--partitions", "4"}, {"topics", "apply", "--topic", debeziumTopic + "," + replayTopic + "," + pastTopic, "--partitions", "4"}} {
		if err := bed.Command(ctx, b.env, o.binary, args...); err != nil {
			return err
		}
	}
	if b.pool, err = pgxpool.New(ctx, pg.SuperuserURL()); err != nil {
		return err
	}
	defer b.pool.Close()
	b.consumer, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...), kgo.ConsumeTopics(relayTopic, debeziumTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return err
	}
	defer b.consumer.Close()

	ctx, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return b.consume(ctx) })
	err = b.measure(ctx)
	cancel()
	return errors.Join(err, g.Wait())
}

func (b *stage) consume(ctx context.Context) error {
	for {
		fetches := b.consumer.PollFetches(ctx)
		err := fetches.Err()
		if errors.Is(err, context.Canceled) {
			return nil // the measurement is over
		}
		if err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		now := time.Now()
		b.mu.Lock()
		for r := range fetches.RecordsAll() {
			if r.Topic != b.topic {
				continue
			}
			for _, h := range r.Headers {
				if h.Key == "id" {
					if id, err := uuid.ParseBytes(h.Value); err == nil {
						if _, seen := b.arrived[id]; !seen {
							b.arrived[id] = now
						}
					}
				}
			}
		}
		b.mu.Unlock()
		select {
		case b.news <- struct{}{}:
		default:
		}
	}
}

// wait returns when the record of id has arrived.
func (b *stage) wait(ctx context.Context, id uuid.UUID) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute) // Debezium first reads what the turns before have written
	defer cancel()
	for {
		b.mu.Lock()
		at, ok := b.arrived[id]
		b.mu.Unlock()
		if ok {
			return at, nil
		}
		select {
		case <-ctx.Done():
			return at, fmt.Errorf("event %s did not arrive: %w", id, ctx.Err())
		case <-b.news:
		}
	}
}

// write commits one event of about 480 bytes and returns when COMMIT had
// returned.
func (b *stage) write(ctx context.Context, n int) (uuid.UUID, time.Time, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return id, time.Time{}, err
	}
	err = pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		return outbox.Append(ctx, tx, outbox.Event{
			ID: id, AggregateType: "order", AggregateID: strconv.Itoa(n % 1000), Type: "OrderPlaced",
			Payload: payload, Headers: map[string]string{"content-type": "application/json"},
		})
	})
	return id, time.Now(), err
}

var payload = []byte(`{"filler":"` + strings.Repeat("x", 460) + `"}`)

func (b *stage) relay() (*process.Process, error) {
	return process.Start(process.Command{Path: b.binary, Args: []string{"relay", "run"}, Env: b.env, Output: os.Stderr})
}

func stop(p *process.Process) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-p.Done()
	return p.Err()
}

func (b *stage) measure(ctx context.Context) error {
	var firsts []time.Duration
	for i := range b.starts {
		id, _, err := b.write(ctx, i)
		if err != nil {
			return err
		}
		start := time.Now()
		p, err := b.relay()
		if err != nil {
			return err
		}
		at, err := b.wait(ctx, id)
		if err := errors.Join(err, stop(p)); err != nil {
			return err
		}
		firsts = append(firsts, at.Sub(start))
		fmt.Printf("start to first record: %s\n", at.Sub(start).Round(100*time.Microsecond))
	}
	contenders, err := b.contenders(ctx)
	if err != nil {
		return err
	}
	results := map[string]*quantiles{}
	for i := range b.warm + b.runs {
		for j := range contenders {
			c := contenders[(i+j)%len(contenders)] // none always goes first
			times, err := b.turn(ctx, c)
			if err != nil {
				return errors.Join(err, closeAll(contenders))
			}
			if i < b.warm {
				fmt.Printf("%s, not measured: %s\n", c.name, new(quantiles).add(times))
				continue
			}
			if results[c.name] == nil {
				results[c.name] = &quantiles{}
			}
			fmt.Printf("%s, commit to consumer at %d tx/s, %d events: %s\n", c.name, b.rate, len(times), results[c.name].add(times))
		}
	}
	if err := closeAll(contenders); err != nil {
		return err
	}
	report := map[string]any{
		"tx_per_s": b.rate, "run_s": b.window.Seconds(), "runs": b.runs, "start_to_first_record_ms": ms(bed.Median(firsts)),
	}
	for name, q := range results {
		report[name+"_commit_to_consumer_ms"] = map[string]float64{"p50": ms(bed.Median(q.p50)), "p95": ms(bed.Median(q.p95)), "p99": ms(bed.Median(q.p99))}
	}
	out, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	if b.out == "" {
		return nil
	}
	return os.WriteFile(b.out, append(out, '\n'), 0o600)
}

// quantiles of each run.
type quantiles struct{ p50, p95, p99 []time.Duration }

func (q *quantiles) add(sorted []time.Duration) string {
	at := func(f float64) time.Duration { return sorted[int(f*float64(len(sorted)-1))] }
	q.p50, q.p95, q.p99 = append(q.p50, at(0.5)), append(q.p95, at(0.95)), append(q.p99, at(0.99))
	return fmt.Sprintf("p50 %s  p95 %s  p99 %s  max %s", at(0.5), at(0.95), at(0.99), at(1))
}

// turn starts the contender, waits until it has caught up, measures, and stops it.
func (b *stage) turn(ctx context.Context, c *contender) (times []time.Duration, err error) {
	b.mu.Lock()
	b.topic = c.topic
	b.mu.Unlock()
	stop, err := c.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := b.caughtUp(ctx); err != nil {
		return nil, err
	}
	return b.run(ctx)
}

// run writes at the rate for the window and returns the sorted times.
func (b *stage) run(ctx context.Context) ([]time.Duration, error) {
	total := int(float64(b.rate) * b.window.Seconds())
	type commit struct {
		id uuid.UUID
		at time.Time
	}
	commits := make([]commit, total)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	start := time.Now()
	for i := range commits {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(b.rate))
		if d := time.Until(due); d > 0 {
			select {
			case <-gctx.Done():
			case <-time.After(d):
			}
		}
		if gctx.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			commits[i].id, commits[i].at, err = b.write(gctx, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("write events: %w", err)
	}
	times := make([]time.Duration, total)
	for i, c := range commits {
		at, err := b.wait(ctx, c.id)
		if err != nil {
			return nil, err
		}
		times[i] = max(at.Sub(c.at), 0)
	}
	slices.Sort(times)
	return times, nil
}

func ms(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
