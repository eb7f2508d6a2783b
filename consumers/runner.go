package consumers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/sql"
)

// Run is [New] and [Runner.Run].
func Run(ctx context.Context, c Config) error {
	r, err := New(c)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// Runner runs consumers. Its methods may be used concurrently; Run once.
type Runner struct {
	config     Config
	poolConfig *pgxpool.Config // when the pool is ours to open
	pool       *pgxpool.Pool
	groups     []*group
}

// New checks c and registers the metrics. It does no I/O; its error names every
// fault.
func New(c Config) (*Runner, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Runner{config: c, pool: c.Pool}
	if r.pool == nil {
		if r.poolConfig, err = poolConfig(c.DatabaseURL, c.Concurrency*len(c.Consumers)); err != nil {
			return nil, err
		}
	}
	member, trials := memberName(), newTrials()
	for _, consumer := range c.Consumers {
		r.groups = append(r.groups, newGroup(newEngine(&r.config, consumer, r.pool, m, trials), member))
	}
	return r, nil
}

// Run consumes until ctx ends, finishes the transactions under way within
// DrainTimeout, commits offsets, leaves the groups and returns nil, with no
// goroutine left. It returns an error when a client cannot be made
// or the database is not migrated; a broker or a database that is away is waited
// for.
func (r *Runner) Run(ctx context.Context) error {
	if r.poolConfig != nil {
		pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), r.poolConfig)
		if err != nil {
			return fmt.Errorf("open pool: %w", err)
		}
		defer pool.Close()
		r.pool = pool
		for _, g := range r.groups {
			g.engine.pool = pool
		}
	}
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return r.keepPartitions(ctx) })
	for _, g := range r.groups {
		eg.Go(func() error { return g.run(ctx) })
	}
	return eg.Wait()
}

// Status tells where each consumer stands in this process.
func (r *Runner) Status() []Status {
	now := time.Now()
	list := make([]Status, len(r.groups))
	for i, g := range r.groups {
		list[i] = g.status(now)
	}
	return list
}

// keepPartitions keeps the inbox's daily partitions ahead. Without one, claims
// fall into the DEFAULT partition: slower to clean up, never wrong. A database
// without the inbox is an error: no waiting makes it right.
func (r *Runner) keepPartitions(ctx context.Context) error {
	const daysAhead, every, soon = 14, time.Hour, time.Minute
	for {
		wait := every
		var made int
		err := r.pool.QueryRow(ctx, sql.InboxPartitionsCreate, daysAhead).Scan(&made)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end of ctx is a clean stop
		case isUnmigrated(err):
			return fmt.Errorf("the database has no inbox: run 'gapless migrate up': %w", err)
		case err != nil:
			wait = soon
			level := r.config.Logger.Warn
			if judge(err) == again {
				level = r.config.Logger.Debug // a long transaction is in the way, or the database is away
			}
			level("create inbox partitions", "error", err)
		case made > 0:
			r.config.Logger.Info("inbox partitions created", "partitions", made)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// isUnmigrated recognises a missing schema, table or function.
func isUnmigrated(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "3F000" || pg.Code == "42P01" || pg.Code == "42883")
}

// memberName tells this process from one that died: not even a restart under
// the same name in the same container may look like its predecessor.
func memberName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), strings.ToLower(rand.Text()[:10]))
}
