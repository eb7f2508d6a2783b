package consumers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/deadpeer"
	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/sql"
)

// Inbox applies messages of one consumer to its database without Kafka: the
// same transactions, retries and dead letters as [Run]. It is what consumerstest
// drives, and what another transport would.
type Inbox struct {
	lane   *lane
	pool   *pgxpool.Pool
	isOurs bool
}

// NewInbox returns an Inbox. It opens a pool when given a DatabaseURL, which
// connects at the first use; Close ends it. Brokers and Consumers of c are not
// used.
func NewInbox(c Config, consumer Consumer) (*Inbox, error) {
	c = c.withDefaults()
	if err := errors.Join(c.validateInbox(), consumer.validate()); err != nil {
		return nil, err
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, err
	}
	in := &Inbox{pool: c.Pool}
	if in.pool == nil {
		in.isOurs = true
		pc, err := poolConfig(c.DatabaseURL, c.Concurrency)
		if err != nil {
			return nil, err
		}
		if in.pool, err = pgxpool.NewWithConfig(context.Background(), pc); err != nil {
			return nil, fmt.Errorf("open pool: %w", err)
		}
	}
	e := newEngine(&c, consumer, in.pool, m, newTrials())
	in.lane = &lane{
		engine: e, commit: e.apply, alone: e.apply, stop: make(chan struct{}), tried: map[partitionID]int64{},
		behind:   func() int { return 0 },
		state:    func(string, error) {},
		prepared: func() {},
		settled:  func(items []*item) int64 { return items[len(items)-1].Offset },
	}
	return in, nil
}

// Process brings every message to an outcome, in order, and returns the
// outcomes by index. It blocks until all are settled, trying again as long as it
// takes; it ends early only with ctx, and then returns the outcomes so far ("" is
// none known) and ctx's error. Giving the same messages again is always right.
//
// ID and Type of a message are filled in from its headers when they are zero.
// It must not be called concurrently.
func (in *Inbox) Process(ctx context.Context, messages ...*Message) ([]Outcome, error) {
	items := make([]*item, len(messages))
	for i, m := range messages {
		m.complete()
		items[i] = in.lane.engine.newItem(m, -1)
	}
	defer in.lane.calls.Wait()
	var err error
	for left := items; len(left) > 0 && err == nil; {
		left, err = in.lane.settle(ctx, left)
	}
	outcomes := make([]Outcome, len(items))
	for i, it := range items {
		outcomes[i] = it.outcome
	}
	return outcomes, err
}

// Suspect makes the next n new messages run with each attempt recorded first, as
// after the unclean death of a process.
func (in *Inbox) Suspect(n int) { in.lane.suspects = n }

// Close ends the pool if NewInbox opened it.
func (in *Inbox) Close() {
	if in.isOurs {
		in.pool.Close()
	}
}

// poolConfig parses url and sizes the pool: one connection a transaction, and
// two for attempts, look-ups and upkeep. A pool_max_conns in the URL wins.
func poolConfig(url string, transactions int) (*pgxpool.Config, error) {
	c, err := pgconnect.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("parse database URL: %w", err)
	}
	c.BeforeConnect = pgconnect.Again(url)
	if !strings.Contains(url, "pool_max_conns") {
		c.MaxConns = max(c.MaxConns, int32(transactions+2))
	}
	c.ConnConfig.DialFunc = deadpeer.Dial
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql.SessionBegin)
		return err
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "gapless consume"
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	return c, nil
}

// standing is what stands still for a consumer.
type standing struct {
	letters, keys, waiting int64
	oldest                 float64 // seconds
}

func (e *engine) standing(ctx context.Context) (standing, error) {
	var s standing
	var batch pgx.Batch
	batch.Queue(sql.InboxStanding, e.consumer.Name, e.generation).
		QueryRow(func(row pgx.Row) error { return row.Scan(&s.letters, &s.oldest, &s.keys, &s.waiting) })
	if err := e.send(ctx, &batch); err != nil {
		return standing{}, fmt.Errorf("count dead letters: %w", err)
	}
	return s, nil
}
