package consumers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/sql"
)

// engine brings messages of one consumer into one database. It knows no broker
// and keeps no state between calls, so it may be used concurrently.
type engine struct {
	consumer   Consumer
	generation int
	pool       *pgxpool.Pool
	writer     *outbox.Writer
	config     *Config
	log        *slog.Logger
	metrics    *consumerMetrics
	prepareSem chan struct{}
	trials     *trials // of the whole process
	// timeline on which the group's offsets are; 0: there are none to compare with.
	timeline atomic.Int32
}

func newEngine(config *Config, consumer Consumer, pool *pgxpool.Pool, m *metrics, t *trials) *engine {
	return &engine{
		consumer: consumer, generation: config.Generation, pool: pool, config: config,
		writer:     outbox.New(outbox.Config{Encoder: config.Encoder}),
		log:        config.Logger.With("consumer", consumer.Name),
		metrics:    m.of(consumer),
		prepareSem: make(chan struct{}, config.PrepareConcurrency),
		trials:     t,
	}
}

// apply brings the effect of the items about in one transaction and sets their
// outcomes once it has committed. On an error nothing is known to have been
// done; trying the same items again is always right, because the claim decides.
func (e *engine) apply(ctx context.Context, items []*item) (err error) {
	if e.config.Trace != nil {
		traced, end := e.config.Trace(ctx, e.consumer.Name, messagesOf(items))
		ctx = traced
		defer func() { end(err) }()
	}
	start := time.Now()
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return &lostError{fmt.Errorf("connect: %w", err)}
	}
	defer conn.Release()
	defer func() {
		if err != nil {
			err = e.abandon(ctx, conn.Conn(), err)
		}
	}()

	t := newTx(conn.Conn(), e.writer)
	defer func() { t.over = true }() // also when it fails: the connection is another's then
	outcomes, err := e.transact(ctx, t, items)
	if err != nil {
		return err
	}
	crashpoint.Hit("consumer.before_commit")
	if err := t.commit(ctx); err != nil {
		if errors.Is(err, errEnded) {
			// The claims may be durable without their effects and events: no retry finds that out.
			e.log.Error("handler committed or rolled back the inbox transaction itself")
		}
		return err
	}
	crashpoint.Hit("consumer.after_commit")
	for i, it := range items {
		it.outcome = outcomes[i]
	}
	e.metrics.committed(items, time.Since(start))
	return nil
}

// abandon ends a failed transaction so that the connection can be used again,
// and tells a lost connection from a failure.
func (e *engine) abandon(ctx context.Context, conn *pgx.Conn, cause error) error {
	if !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
		// ctx may be over; the lock on the claims should not wait for it.
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 5*time.Second, errors.New("roll back: timeout"))
		defer cancel()
		if _, err := conn.Exec(ctx, sql.InboxRollback); err != nil {
			e.log.Debug("roll back", "error", err)
		}
	}
	dropDemoted(ctx, conn, cause)
	timeout := errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, context.Canceled)
	if conn.IsClosed() && !timeout {
		return &lostError{cause}
	}
	return cause
}

// dropDemoted closes a connection to a server that takes no writes any more (25006)
// or is in recovery (55000): in the pool it would be the next one taken. A new one
// looks for the primary anew.
func dropDemoted(ctx context.Context, conn *pgx.Conn, cause error) {
	if pg, ok := errors.AsType[*pgconn.PgError](cause); ok && (pg.Code == "25006" || pg.Code == "55000") {
		_ = conn.Close(ctx) // the cause is told, not this
	}
}

// transact does everything of a batch's transaction but its COMMIT.
func (e *engine) transact(ctx context.Context, t *tx, items []*item) ([]Outcome, error) {
	fresh, blocked, err := e.claim(ctx, t, items)
	if err != nil {
		return nil, err
	}
	crashpoint.Hit("consumer.after_claim")

	outcomes := make([]Outcome, len(items))
	var waiting []*item
	var deliveries []Delivery
	for i, it := range items {
		_, isFresh := fresh[it.ID]
		delete(fresh, it.ID) // a second one in this batch is a duplicate
		_, isBlocked := blocked[it.blockKey()]
		switch {
		case !isFresh:
			outcomes[i] = Duplicate
		case it.ignored:
			outcomes[i] = Ignored
		case isBlocked && it.Key != nil:
			outcomes[i] = Waiting
			waiting = append(waiting, it)
		default:
			outcomes[i] = Applied
			deliveries = append(deliveries, Delivery{Message: it.Message, Prepared: it.prepared()})
		}
	}
	if len(waiting) > 0 {
		e.queueWaiting(t, waiting)
		// Now, and not with the handler's statements: see ownError.
		if err := t.flush(ctx); err != nil {
			err = fmt.Errorf("store what waits: %w", err)
			if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" {
				// Another event waits at this offset already: the topic was made anew.
				// The message is parked, bytes and all; no waiting would mend it.
				return nil, err
			}
			return nil, &ownError{err}
		}
	}
	if err := e.deliver(ctx, t, deliveries); err != nil {
		return nil, err
	}
	crashpoint.Hit("consumer.after_apply")
	return outcomes, nil
}

// claim begins the transaction and claims the items in one round trip. It
// returns the ids that are new to this consumer and the keys that are blocked.
func (e *engine) claim(ctx context.Context, t *tx, items []*item) (map[uuid.UUID]struct{}, map[keyOf]struct{}, error) {
	claims := sortedFirsts(items)
	n := len(claims)
	ids, outcomes, topics := make([]pgtype.UUID, n), make([]string, n), make([]string, n)
	partitions, offsets, positions := make([]int32, n), make([]int64, n), make([]*string, n)
	for i, it := range claims {
		ids[i], topics[i], partitions[i], offsets[i] = id(it.ID), it.Topic, it.Partition, it.Offset
		positions[i] = nullText(it.Header("gapless_position"))
		if outcomes[i] = string(Applied); it.ignored {
			outcomes[i] = string(Ignored)
		}
	}

	fresh := make(map[uuid.UUID]struct{}, n)
	blocked := map[keyOf]struct{}{}
	var batch pgx.Batch
	batch.Queue(sql.InboxBegin)
	var timeline int32
	batch.Queue(sql.InboxGround).QueryRow(func(row pgx.Row) error { return row.Scan(&timeline, nil) })
	batch.Queue(sql.InboxClaim, e.consumer.Name, e.generation, ids, outcomes, topics, partitions, offsets, positions).
		Query(func(rows pgx.Rows) error {
			var claimed pgtype.UUID
			_, err := pgx.ForEachRow(rows, []any{&claimed}, func() error {
				fresh[claimed.Bytes] = struct{}{}
				return nil
			})
			return err
		})
	if keyTopics, list := keys(items); len(list) > 0 {
		batch.Queue(sql.InboxBlocked, e.consumer.Name, e.generation, keyTopics, list).Query(readKeys(blocked))
	}
	if err := t.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, nil, &ownError{fmt.Errorf("claim batch: %w", err)}
	}
	if want := e.timeline.Load(); want != 0 && want != timeline {
		// What came before may be lost and has to come again first.
		return nil, nil, errWentBack
	}
	return fresh, blocked, nil
}

func readKeys(into map[keyOf]struct{}) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var topic string
		var key []byte
		_, err := pgx.ForEachRow(rows, []any{&topic, &key}, func() error {
			into[keyOf{topic, string(key)}] = struct{}{}
			return nil
		})
		return err
	}
}

func (e *engine) queueWaiting(t *tx, items []*item) {
	n := len(items)
	topics, keys, partitions, offsets := make([]string, n), make([][]byte, n), make([]int32, n), make([]int64, n)
	ids, types, times := make([]pgtype.UUID, n), make([]*string, n), make([]time.Time, n)
	values, headers := make([][]byte, n), make([]string, n)
	for i, it := range items {
		topics[i], keys[i], partitions[i], offsets[i] = it.Topic, it.Key, it.Partition, it.Offset
		ids[i], types[i], times[i] = id(it.ID), nullText(it.Type), stamp(it.Timestamp)
		values[i], headers[i] = it.Value, encodeHeaders(it.Headers)
	}
	least, most := span(items)
	t.Queue(sql.InboxWait, e.consumer.Name, e.generation, topics, keys, partitions, offsets, ids, types, times, values, headers, least, most)
}

// deliver calls the handler. A panic is a failure like any other.
func (e *engine) deliver(ctx context.Context, t *tx, deliveries []Delivery) (err error) {
	if len(deliveries) == 0 {
		return nil
	}
	defer e.recovered(&err, "apply")
	if e.consumer.ApplyBatch != nil {
		return e.consumer.ApplyBatch(ctx, t, deliveries)
	}
	for _, d := range deliveries {
		if err := e.consumer.Apply(ctx, t, d); err != nil {
			return fmt.Errorf("apply %s: %w", d.ID, err)
		}
	}
	return nil
}

// recovered turns a panic of a handler into an error. The stack goes to the
// log; what was panicked with may hold payload and goes to the database alone.
func (e *engine) recovered(err *error, what string) {
	if v := recover(); v != nil {
		e.log.Error("handler panicked", "in", what, "stack", string(debug.Stack()))
		*err = &panicError{v}
	}
}

type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func messagesOf(items []*item) []*Message {
	list := make([]*Message, len(items))
	for i, it := range items {
		list[i] = it.Message
	}
	return list
}
