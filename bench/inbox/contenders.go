package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/sql"
)

// watch times a run from its first transaction to its last.
type watch struct {
	goal int
	done chan struct{}

	mu       sync.Mutex
	taken    int
	events   int
	begun    time.Time
	cpuBegun time.Duration
	took     time.Duration
	cpu      time.Duration
}

func newWatch(goal int) *watch { return &watch{goal: goal, done: make(chan struct{})} }

func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun.IsZero() {
		w.begun, w.cpuBegun = time.Now(), cpu()
	}
}

// take tells whether there is one more event to do.
func (w *watch) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken++
	return w.taken <= w.goal
}

func (w *watch) committed(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.events
	w.events += n
	if before < w.goal && w.events >= w.goal {
		w.took, w.cpu = time.Since(w.begun), cpu()-w.cpuBegun
		close(w.done)
	}
}

func (w *watch) result() result { return result{w.goal, w.took, w.cpu} }

// gapless is the consumer as anybody would write it.
func (b *bed) gapless(ctx context.Context) (result, error) {
	w := newWatch(b.events)
	r, err := consumers.New(consumers.Config{
		DatabaseURL: b.url, Brokers: b.seeds, BatchSize: b.batch, Concurrency: b.concurrency,
		Trace: func(ctx context.Context, _ string, batch []*consumers.Message) (context.Context, func(error)) {
			w.begin()
			return ctx, func(err error) {
				if err == nil {
					w.committed(len(batch))
				}
			}
		},
		Consumers: []consumers.Consumer{{
			Name: "bench-" + uuid.NewString()[:8], Topics: []string{b.topic},
			Apply: func(_ context.Context, tx consumers.Tx, d consumers.Delivery) error {
				tx.Queue(upsert, string(d.Key))
				return nil
			},
		}},
	})
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error { return r.Run(ctx) })
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	cancel()
	return w.result(), g.Wait()
}

// noInbox upserts what each poll brings, a transaction for each partition's
// batch, two at once, and marks offsets afterwards: at least once.
func (b *bed) noInbox(ctx context.Context) (result, error) {
	return b.poll(ctx, b.events, func(ctx context.Context, w *watch, client *kgo.Client, records []*kgo.Record) error {
		const size = 500
		for len(records) > 0 {
			n := min(size, len(records))
			w.begin()
			err := pipeline(ctx, b.pool, func(batch *pgx.Batch) {
				for _, r := range records[:n] {
					batch.Queue(upsert, string(r.Key))
				}
			})
			if err != nil {
				return fmt.Errorf("upsert: %w", err)
			}
			client.MarkCommitRecords(records[n-1])
			w.committed(n)
			records = records[n:]
		}
		return nil
	})
}

// perEvent is an inbox without batches, on a part of the topic: it would take
// minutes for all of it.
func (b *bed) perEvent(ctx context.Context) (result, error) {
	const part = 20
	name := "bench-" + uuid.NewString()[:8]
	return b.poll(ctx, b.events/part, func(ctx context.Context, w *watch, client *kgo.Client, records []*kgo.Record) error {
		for _, r := range records {
			w.begin()
			if !w.take() {
				return nil
			}
			id := consumers.MessageID(r.Topic, r.Partition, r.Offset, []consumers.Header{{Name: "id", Value: r.Headers[0].Value}})
			err := pipeline(ctx, b.pool, func(batch *pgx.Batch) {
				batch.Queue(sql.InboxClaim, name, 1, []uuid.UUID{id}, []string{"applied"}, []string{r.Topic}, []int32{r.Partition}, []int64{r.Offset}, []*string{nil})
				batch.Queue(upsert, string(r.Key))
			})
			if err != nil {
				return fmt.Errorf("claim and upsert: %w", err)
			}
			client.MarkCommitRecords(r)
			w.committed(1)
		}
		return nil
	})
}

// poll is the plain loop of both: two partitions' records at once.
func (b *bed) poll(ctx context.Context, goal int, handle func(context.Context, *watch, *kgo.Client, []*kgo.Record) error) (result, error) {
	w := newWatch(goal)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.seeds...), kgo.ConsumerGroup("bench-"+uuid.NewString()), kgo.ConsumeTopics(b.topic),
		kgo.AutoCommitMarks(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return result{}, fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-w.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		// As many records as the other contender keeps queued.
		fetches := client.PollRecords(ctx, 32_000)
		select {
		case <-w.done:
			return w.result(), nil
		default:
		}
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		if err := fetches.Err(); err != nil {
			return result{}, fmt.Errorf("poll: %w", err)
		}
		g, workCtx := errgroup.WithContext(context.WithoutCancel(ctx))
		g.SetLimit(2)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			g.Go(func() error { return handle(workCtx, w, client, p.Records) })
		})
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			return result{}, err
		}
		select {
		case <-w.done:
			return w.result(), nil
		default:
		}
	}
}
