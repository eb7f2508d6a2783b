package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/bench/faults/check"
)

const (
	writers   = 4
	keys      = 16
	rolledOff = 10 // of a hundred transactions
	rhythm    = 20 * time.Millisecond
)

// load writes transactions until it is told to stop, and notes what it knows of each.
type load struct {
	url  string
	seed uint64

	turn  sync.RWMutex // held for reading by each transaction, for types
	types []string     // aggregate types to write

	mu    sync.Mutex
	txns  []check.Txn
	stop  chan struct{}
	ended sync.WaitGroup
}

func startLoad(ctx context.Context, url string, seed uint64, types ...string) *load {
	l := &load{url: url, seed: seed, stop: make(chan struct{})}
	l.write(types...)
	for n := range writers {
		l.ended.Go(func() { l.run(ctx, n) })
	}
	return l
}

// write says which aggregate types are written from now on. Transactions that began
// before have ended when it returns.
func (l *load) write(types ...string) {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.types = types
}

// end stops the writers and returns when their last transactions have ended. A
// second call does nothing.
func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.ended.Wait()
}

func (l *load) note(t check.Txn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.txns = append(l.txns, t)
}

func (l *load) history() []check.Txn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.txns)
}

// committedSince are the rows of transactions that began after t and are committed.
func (l *load) committedSince(t time.Time) map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := map[string]bool{}
	for i := len(l.txns) - 1; i >= 0 && l.txns[i].Ended.After(t); i-- {
		if txn := &l.txns[i]; txn.Outcome == check.OK && txn.Began.After(t) {
			for _, r := range txn.Rows {
				ids[r.ID] = true
			}
		}
	}
	return ids
}

// run is one writer. It lives through everything: a server that is away is the
// fault, or a part of it.
func (l *load) run(ctx context.Context, n int) {
	rng := rand.New(rand.NewPCG(l.seed, uint64(n)))
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	tick := time.NewTicker(rhythm)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if conn == nil || conn.IsClosed() {
			dial, cancel := context.WithTimeout(ctx, 2*time.Second)
			fresh, err := pgx.Connect(dial, l.url)
			cancel()
			if err != nil {
				continue
			}
			conn = fresh
		}
		l.transaction(ctx, conn, n, rng)
	}
}

// append writes one row under its key's lock, so that versions are in commit order.
const appendRow = `WITH next AS (
		INSERT INTO faults.aggregate (key, version) VALUES ($2, 1)
		ON CONFLICT (key) DO UPDATE SET version = aggregate.version + 1 RETURNING version)
	INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload)
	SELECT $1, $3, $2, version, 'Counted', convert_to(version || ' ' || repeat('x', $4), 'UTF8') FROM next
	RETURNING aggregate_version`

func (l *load) transaction(ctx context.Context, conn *pgx.Conn, writer int, rng *rand.Rand) {
	l.turn.RLock()
	defer l.turn.RUnlock()
	t, types := check.Txn{Writer: writer, Began: time.Now()}, l.types
	chosen := make([]int, 1+rng.IntN(5))
	for i := range chosen {
		chosen[i] = rng.IntN(keys)
	}
	slices.Sort(chosen) // or two transactions would wait for each other
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	t.Outcome = func() check.Outcome {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return check.Fail
		}
		defer tx.Rollback(ctx)
		for _, key := range chosen {
			kind := types[key%len(types)]
			id := uuid.Must(uuid.NewV7()).String()
			name := kind + "-" + strconv.Itoa(key)
			row := check.Row{ID: id, Topic: topicOf(kind), Key: name}
			err := tx.QueryRow(ctx, appendRow, id, name, kind, 50+rng.IntN(300)).Scan(&row.Version)
			if err != nil {
				t.Rows = append(t.Rows, row)
				return check.Fail // without COMMIT nothing is committed
			}
			t.Rows = append(t.Rows, row)
		}
		if rng.IntN(100) < rolledOff {
			return check.Fail
		}
		return outcome(tx.Commit(ctx))
	}()
	t.Ended = time.Now()
	l.note(t)
}

// outcome of a COMMIT. A server that is being shut down (class 57P) may have carried
// it out and not said so.
func outcome(err error) check.Outcome {
	if err == nil {
		return check.OK
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if errors.Is(err, pgx.ErrTxCommitRollback) || ok && !strings.HasPrefix(pg.Code, "57P") {
		return check.Fail
	}
	return check.Unknown
}

func topicOf(kind string) string { return "outbox.event." + kind }

// large commits one transaction of so many rows of so many bytes, over all keys of
// a type.
func (l *load) large(ctx context.Context, kind string, rows, size int) error {
	conn, err := pgx.Connect(ctx, l.url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	t := check.Txn{Writer: writers, Began: time.Now(), Outcome: check.Unknown}
	found, err := conn.Query(ctx, `INSERT INTO gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload)
		SELECT gen_random_uuid(), $1, $1 || '-large-' || n % $4, 1 + n / $4, 'Counted', convert_to(repeat('x', $3), 'UTF8')
		FROM generate_series(0, $2 - 1) AS n
		RETURNING id::text, aggregateid, aggregate_version`, kind, rows, size, keys)
	if err != nil {
		return fmt.Errorf("write a large transaction: %w", err)
	}
	for found.Next() {
		r := check.Row{Topic: topicOf(kind)}
		if err := found.Scan(&r.ID, &r.Key, &r.Version); err != nil {
			return fmt.Errorf("write a large transaction: %w", err)
		}
		t.Rows = append(t.Rows, r)
	}
	if err := found.Err(); err != nil {
		return fmt.Errorf("write a large transaction: %w", err)
	}
	t.Ended, t.Outcome = time.Now(), check.OK
	l.note(t)
	return nil
}
