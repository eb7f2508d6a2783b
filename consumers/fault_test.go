package consumers_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/consumers"
)

// signalWriter is a log's; it closes seen when want was written.
type signalWriter struct {
	mu   sync.Mutex
	want string
	seen chan struct{}
}

func (w *signalWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.want != "" && bytes.Contains(b, []byte(w.want)) {
		w.want = ""
		close(w.seen)
	}
	return len(b), nil
}

// whileBroken processes messages on a database that breakIt has broken, waits
// until the runtime has said so, mends it and returns the outcomes.
func whileBroken(t *testing.T, d *database, says, breakIt, mendIt string, prepare, list []*consumers.Message, consumer consumers.Consumer) []consumers.Outcome {
	t.Helper()
	w := &signalWriter{want: says, seen: make(chan struct{})}
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 1, Logger: slog.New(slog.NewTextHandler(w, nil))}, consumer)
	if len(prepare) > 0 {
		process(t, in, prepare...)
	}
	if _, err := d.admin.Exec(t.Context(), breakIt); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	mended := make(chan error, 1)
	go func() {
		var err error
		select {
		case <-w.seen:
			_, err = d.admin.Exec(ctx, mendIt)
		case <-ctx.Done():
			err = fmt.Errorf("%q was never logged", says)
		}
		mended <- err
	}()
	outcomes, err := in.Process(ctx, list...)
	if err != nil {
		t.Fatalf("process: %v", err)
	}
	select {
	case <-w.seen:
	default:
		cancel() // settled without a word
	}
	if err := <-mended; err != nil {
		t.Error(err)
	}
	return outcomes
}

// What the runtime itself asks of the database says nothing about a message.
func TestFailureOfOurOwnStatementParksNothing(t *testing.T) {
	t.Parallel()
	const again = "transaction will be tried again"
	for _, c := range []struct{ name, breakIt, mendIt string }{
		// The check is an error that would be a message's, from a handler.
		{"claim", "ALTER TABLE gapless.inbox ADD CONSTRAINT broken CHECK (outcome <> 'applied') NOT VALID", "ALTER TABLE gapless.inbox DROP CONSTRAINT broken"},
		{"wait", "ALTER TABLE gapless.key_block_message ADD CONSTRAINT broken CHECK (topic = '') NOT VALID", "ALTER TABLE gapless.key_block_message DROP CONSTRAINT broken"},
		{"look-up", "REVOKE SELECT ON gapless.key_block FROM gapless_consumer", "GRANT SELECT ON gapless.key_block TO gapless_consumer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			consumer := effectConsumer()
			consumer.Prepare = func(context.Context, *consumers.Message) (any, error) { return nil, nil } //nolint:nilnil // nothing to prepare
			got := whileBroken(t, d, again, c.breakIt, c.mendIt,
				[]*consumers.Message{message(t, 0, "blocked", "poison")},
				[]*consumers.Message{message(t, 1, "blocked", "good"), message(t, 2, "a", "good")}, consumer)
			if want := []consumers.Outcome{consumers.Waiting, consumers.Applied}; !slices.Equal(got, want) {
				t.Errorf("outcomes %v, want %v", got, want)
			}
			if n := d.int(t, "SELECT count(*) FROM gapless.dead_letter") + d.int(t, "SELECT count(*) FROM gapless.inbox_attempt"); n != 1 {
				t.Errorf("%d dead letters and attempts, want the one of the poison", n)
			}
		})
	}
}

// A topic that was made anew counts its offsets from 0 again, where an event of
// the old one may still wait.
func TestOffsetThatWaitsAlready(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 1}, effectConsumer())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := in.Process(ctx, message(t, 0, "a", "poison"), message(t, 1, "a", "old"), message(t, 1, "a", "new"))
	if err != nil {
		t.Fatalf("process: %v", err)
	}
	// Together none of them can wait; singly the first one does.
	if want := []consumers.Outcome{consumers.Parked, consumers.Waiting, consumers.Parked}; !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}

// A handler that is deployed before its migration, or its grants.
func TestHandlerBeforeItsMigrationWaits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, breakIt, mendIt string }{
		{"table", "ALTER TABLE effect RENAME TO soon", "ALTER TABLE soon RENAME TO effect"},
		{"column", "ALTER TABLE effect RENAME key TO soon", "ALTER TABLE effect RENAME soon TO key"},
		{"grant", "REVOKE INSERT ON effect FROM gapless_consumer", "GRANT INSERT ON effect TO gapless_consumer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			got := whileBroken(t, d, "schema or grants do not fit the handler", c.breakIt, c.mendIt, nil,
				[]*consumers.Message{message(t, 0, "a", "good"), message(t, 1, "b", "good")}, effectConsumer())
			if d.effects(t) != "a b" || slices.Contains(got, consumers.Parked) {
				t.Errorf("outcomes %v, effects %q; want both applied, in order", got, d.effects(t))
			}
			if n := d.int(t, "SELECT count(*) FROM gapless.inbox_attempt"); n != 0 {
				t.Errorf("%d messages with attempts", n)
			}
		})
	}
}

// A pooler that has given us another server session: the statements that pgx
// prepared are not there.
func TestLostPreparedStatementsCountNoAttempt(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	consumer := effectConsumer()
	apply, calls := consumer.Apply, 0
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if calls++; calls%2 == 0 {
			if _, err := tx.Exec(ctx, "DEALLOCATE ALL"); err != nil {
				return err
			}
		}
		return apply(ctx, tx, m)
	}
	in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 1}, consumer)
	for i, key := range []string{"a", "b", "c"} {
		process(t, in, message(t, i, key, "good"))
	}
	if d.effects(t) != "a b c" {
		t.Errorf("effects %q, want each once", d.effects(t))
	}
	if n := d.int(t, "SELECT count(*) FROM gapless.dead_letter"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	for _, code := range []string{"0A000", "26000", "42P05"} {
		calls := 0
		consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
			if calls++; calls <= 3 {
				return fmt.Errorf("insert: %w", &pgconn.PgError{Code: code})
			}
			return apply(ctx, tx, m)
		}
		in := newInbox(t, consumers.Config{Pool: d.pool, MaxAttempts: 1}, consumer)
		if got := process(t, in, message(t, 9, strings.ToLower(code), "good")); got[0] != consumers.Applied {
			t.Errorf("outcome %v after %s, want applied", got, code)
		}
	}
}

// A server that was demoted under us keeps its connections and takes no writes: they
// are given up, not given out again.
func TestDemotedServerIsLeft(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	config := d.pool.Config()
	var connections atomic.Int32
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if connections.Add(1) > 1 {
			return nil
		}
		_, err := conn.Exec(ctx, "SET default_transaction_read_only = on")
		return err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	process(t, newInbox(t, consumers.Config{Pool: pool}, effectConsumer()), message(t, 0, "a", "good"))
	if d.effects(t) != "a" || connections.Load() < 2 {
		t.Errorf("effects %q over %d connections", d.effects(t), connections.Load())
	}
}

// A message whose statement is always too slow holds what comes after it, not what
// came before it in its batch.
func TestAlwaysTooSlowStatementHoldsNothingBeforeIt(t *testing.T) {
	t.Parallel()
	d, c := newDatabase(t), newCluster(t, 1)
	config := d.pool.Config()
	config.ConnConfig.RuntimeParams["statement_timeout"] = "200ms"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	consumer := effectConsumer()
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
		if string(m.Key) == "slow" {
			_, err := tx.Exec(ctx, "SELECT pg_sleep(5)")
			return err
		}
		return applyEffect(ctx, tx, m)
	}
	c.produce(t, c.record(0, "a", "good"), c.record(0, "slow", "good"), c.record(0, "b", "good"))
	cfg := c.config(d, consumer)
	cfg.Pool = pool
	r := run(t, cfg)
	d.waitForEffects(t, 1)
	if got := d.effects(t); got != "a" {
		t.Errorf("effects %q", got)
	}
	if s := r.Status()[0]; s.DeadLetters != 0 || d.int(t, "SELECT count(*) FROM gapless.dead_letter") != 0 {
		t.Errorf("a slow database parks nothing: %+v", s)
	}
}
