package relay

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/sql"
)

const (
	// partitionDays of the outbox are kept ready: a fortnight without any relay
	// or API before rows go into the last, open one.
	partitionDays = 14
	keepEvery     = time.Hour
	// keepAgain is the pause after a long transaction was in the way.
	keepAgain = time.Minute
)

// keepPartitions keeps the outbox's partitions ahead. Any number of processes
// may do so at once. It is never urgent, so no failure of it ends the stream.
func (s *session) keepPartitions(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var made int
	err := s.r.store.pool.QueryRow(ctx, sql.OutboxPartitionsCreate, partitionDays).Scan(&made)
	s.inbox.result(func() {
		s.worker.busy = false
		if err != nil {
			s.partitionsPostponed(err)
		} else if made > 0 {
			s.r.log.Info("outbox partitions created", "partitions", made)
		}
	})
}

func (s *session) partitionsPostponed(err error) {
	code := ""
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		code = pg.Code
	}
	switch code {
	case "55P03": // lock_not_available
		s.r.keepAt = time.Now().Add(keepAgain)
		s.r.log.Debug("outbox partitions postponed", "error", err)
	case "42883", "42501", "3F000": // another's outbox, or another's job
		s.r.log.Debug("outbox partitions are not this relay's to create", "error", err)
	default:
		if shuttingDown(err) {
			s.worker.fatal = err
			return
		}
		s.r.keepAt = time.Now().Add(keepAgain)
		s.r.log.Warn("outbox partitions not created, trying again later", "error", err)
	}
}
