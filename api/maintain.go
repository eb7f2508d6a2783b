package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/sql"
)

const (
	// partitionDays of the outbox are kept ready: a fortnight without any API or
	// relay before rows go into the last, open one.
	partitionDays = 14
	// deleteBatch keeps one delete short, so that it holds no lock for long.
	deleteBatch = 1000
	// maintainTimeout bounds one statement of maintenance.
	maintainTimeout = 30 * time.Second
	// maintainAgain is the pause after a round that found Postgres away or a long
	// transaction in the way.
	maintainAgain = time.Minute
)

// maintain keeps partitions ahead and idempotency keys to their retention, now
// and then for as long as ctx lasts. Any number of processes may do so at once.
func (s *Server) maintain(ctx context.Context) error {
	if s.cfg.MaintainEvery < 0 {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		pause := s.cfg.MaintainEvery
		if err := s.maintainOnce(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "maintenance postponed", "error", err)
			pause = min(pause, maintainAgain)
		}
		timer.Reset(pause)
	}
}

func (s *Server) maintainOnce(ctx context.Context) error {
	return errors.Join(s.keepPartitions(ctx), s.deleteKeys(ctx))
}

func (s *Server) keepPartitions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maintainTimeout)
	defer cancel()
	var made int
	err := s.db.QueryRow(ctx, sql.OutboxPartitionsCreate, partitionDays).Scan(&made)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "55P03" {
		// Rarely needed and never urgent: the function works a fortnight ahead.
		s.log.DebugContext(ctx, "outbox partitions postponed", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("create outbox partitions: %w", err)
	}
	if made > 0 {
		s.log.InfoContext(ctx, "outbox partitions created", "partitions", made)
	}
	return nil
}

// deleteKeys deletes in batches, each a transaction of its own.
func (s *Server) deleteKeys(ctx context.Context) error {
	if s.cfg.KeyRetention < 0 {
		return nil
	}
	var total int64
	for {
		n, err := s.deleteKeyBatch(ctx)
		total += n
		s.metrics.deleted.Add(float64(n))
		if err != nil {
			return err
		}
		if n < deleteBatch {
			break
		}
	}
	if total > 0 {
		s.log.InfoContext(ctx, "idempotency keys deleted", "keys", total)
	}
	return nil
}

func (s *Server) deleteKeyBatch(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, maintainTimeout)
	defer cancel()
	tag, err := s.db.Exec(ctx, sql.IdempotencyKeyDeleteOld, s.cfg.KeyRetention, deleteBatch)
	if err != nil {
		return 0, fmt.Errorf("delete old idempotency keys: %w", err)
	}
	return tag.RowsAffected(), nil
}
