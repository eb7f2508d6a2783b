package saga

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/sql"
)

// dueAtOnce is how many sagas the timer moves in one transaction.
const dueAtOnce = 100

// countEvery is how often the gauges are read from the database.
const countEvery = 15 * time.Second

// errNoPool is a programmer's: Run and Mend need a database.
var errNoPool = errors.New("saga: Config.Pool is required")

// Run is the timer: it sends again what is not answered in time, and gives up
// what never is. It blocks until ctx ends and returns nil then. Any number may
// run at once: each takes what no other holds.
//
// While the database is away it tries again at each interval; nothing is lost
// by a late timer.
func (s *Saga) Run(ctx context.Context) error {
	if s.config.Pool == nil {
		return errNoPool
	}
	ticker := time.NewTicker(s.config.Interval)
	defer ticker.Stop()
	var counted time.Time
	for {
		if err := s.expire(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("saga timer, will try again", "error", err)
		}
		if time.Since(counted) >= countEvery {
			counted = time.Now()
			if err := s.count(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("count sagas, will try again", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// expire moves every saga that is due now. One that cannot be moved is left for a
// while, so that it does not hold up those behind it.
func (s *Saga) expire(ctx context.Context) error {
	for {
		ids, err := s.expireSome(ctx, dueAtOnce)
		if err != nil && len(ids) > 1 {
			ids, err = s.expireSingly(ctx)
		}
		if err != nil {
			s.setAside(ids, err)
			return fmt.Errorf("expire sagas: %w", err)
		}
		if len(ids) < dueAtOnce {
			return nil
		}
	}
}

// expireSingly moves one saga after the other, each in its own transaction. Its
// error is no saga's, but the database's.
func (s *Saga) expireSingly(ctx context.Context) (moved []sagaID, err error) {
	for {
		ids, err := s.expireSome(ctx, 1)
		switch {
		case err != nil && len(ids) == 0:
			return nil, err
		case err != nil:
			s.setAside(ids, err)
		case len(ids) == 0:
			return moved, nil
		}
		moved = append(moved, ids...)
		if len(moved) >= dueAtOnce {
			return moved, nil
		}
	}
}

func (s *Saga) setAside(ids []sagaID, cause error) {
	for _, id := range ids {
		s.aside.put(id)
		s.log.Error("saga cannot be moved by its timer, left for a minute", "saga_id", id, "error", cause)
	}
}

// expireSome moves up to limit sagas in one transaction and returns which they
// are, also when it fails.
func (s *Saga) expireSome(ctx context.Context, limit int) (ids []sagaID, err error) {
	var resent, givenUp int
	defer func() {
		if v := recover(); v != nil { // a step that this version does not know
			err = fmt.Errorf("move saga: panic: %v", v)
		}
	}()
	err = s.transact(ctx, func(tx consumers.Tx, w *work) error {
		rows, err := tx.Query(ctx, sql.SagaDue, limit, participant.Raw(s.aside.ids()))
		if err != nil {
			return err
		}
		if err := w.read(rows); err != nil {
			return err
		}
		ids = slices.Collect(maps.Keys(w.sagas))
		for id, i := range w.sagas {
			before := i.state
			w.apply(input{saga: id, event: Expired{}})
			if !i.isChanged { // nothing to wait for: never ask again
				i.isChanged, i.timer = true, clearTimer
				continue
			}
			if i.state.Attempts > before.Attempts && i.state.Step == before.Step {
				resent++
			} else {
				givenUp++
			}
			s.log.Info("saga step not answered in time", "saga_id", id, "step", before.Step, "direction", before.Direction,
				"attempts", before.Attempts, "status", i.state.Status)
		}
		return nil
	})
	if err == nil {
		s.metrics.resends.Add(float64(resent))
		s.metrics.givenUp.Add(float64(givenUp))
	}
	return ids, err
}

// Mend is an operator's decision on a saga that needs attention. It is noted in
// gapless.audit in the same transaction, with who the caller says the operator is. A saga that needs none is refused with
// an error that says why.
func (s *Saga) Mend(ctx context.Context, saga uuid.UUID, action Action, operator, reason string) error {
	if s.config.Pool == nil {
		return errNoPool
	}
	switch action {
	case Retry, Skip, Abort:
	default:
		return fmt.Errorf("mend saga %s: unknown action %q", saga, action)
	}
	return s.transact(ctx, func(tx consumers.Tx, w *work) error {
		in := input{saga: saga, event: Mended{Action: action}}
		if err := w.lock(ctx, tx, []input{in}); err != nil {
			return err
		}
		i := w.sagas[saga]
		if i == nil {
			return fmt.Errorf("%s saga %s: %s", action, saga, whyUnknown)
		}
		if _, fx := s.machine.Apply(i.state, in.event); fx.Ignored != "" {
			return fmt.Errorf("%s saga %s: %s (status %s)", action, saga, fx.Ignored, i.state.Status)
		}
		w.apply(in)
		tx.Queue(sql.SagaAudit, operator, "saga "+string(action), saga.String(), reason)
		return nil
	})
}

// transact moves sagas in a transaction that is no inbox's. If its COMMIT is not
// answered the outcome is unknown, and the sagas themselves tell: what was moved
// is not due any more.
func (s *Saga) transact(ctx context.Context, do func(consumers.Tx, *work) error) error {
	return pgx.BeginTxFunc(ctx, s.config.Pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(pgtx pgx.Tx) error {
		tx := &plainTx{Tx: pgtx, writer: s.writer, batch: &pgx.Batch{}}
		w := newWork(s.machine)
		if err := do(tx, w); err != nil {
			return err
		}
		if err := w.finish(ctx, tx); err != nil {
			return err
		}
		if err := tx.flush(ctx); err != nil {
			return err
		}
		crashpoint.Hit("saga.before_timer_commit")
		return nil
	})
}

// plainTx is a [consumers.Tx] on a transaction of our own.
type plainTx struct {
	pgx.Tx
	writer *outbox.Writer
	batch  *pgx.Batch
}

func (t *plainTx) Queue(query string, args ...any) *pgx.QueuedQuery {
	return t.batch.Queue(query, args...)
}

func (t *plainTx) Emit(ctx context.Context, _ *consumers.Message, events ...outbox.Event) error {
	return t.writer.Queue(ctx, t.batch, events...)
}

// flush sends what is queued. Queries of the saga come before anything is
// queued, so that this is the only time.
func (t *plainTx) flush(ctx context.Context) error {
	if t.batch.Len() == 0 {
		return nil
	}
	return t.SendBatch(ctx, t.batch).Close()
}

// count reads the gauges.
func (s *Saga) count(ctx context.Context) error {
	rows, err := s.config.Pool.Query(ctx, sql.SagaCount)
	if err != nil {
		return err
	}
	for _, status := range []Status{Running, Waiting, Compensating, NeedsAttention} {
		s.metrics.instances.WithLabelValues(string(status)).Set(0)
	}
	var (
		status        string
		sagas         int64
		age, oldestIn float64
	)
	_, err = pgx.ForEachRow(rows, []any{&status, &sagas, &age}, func() error {
		s.metrics.instances.WithLabelValues(status).Set(float64(sagas))
		if Status(status) == Running || Status(status) == Compensating {
			oldestIn = max(oldestIn, age)
		}
		return nil
	})
	s.metrics.oldest.Set(oldestIn)
	return err
}
