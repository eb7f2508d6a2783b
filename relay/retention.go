package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/sql"
)

// Retention is how long relayed rows stay. Nothing is removed before it is proven to
// be relayed by every relay that has a progress record in the database, however old
// it is: one that is stopped for good holds it up, until its record is deleted. A row
// of a table of one's own that was written beside a long transaction is proven by the
// next event.
type Retention struct {
	// Outbox is the least age of a row of gapless.outbox when its daily partition is
	// dropped; at least 24 h. 0 keeps all.
	Outbox time.Duration

	// Tables are outbox tables of one's own ("schema.table"): their rows are deleted
	// in batches. The login needs SELECT and DELETE on them. What was written before
	// the first stream with this setting stays, and so does what was written before a
	// stream of the slot last left the table out, and before the table's place in the publication, or the publication itself, was altered:
	// of those nothing tells whether they were sent.
	Tables map[string]TableRetention
}

// TableRetention is how long the rows of one table stay after they were relayed.
type TableRetention struct {
	After  time.Duration // their least age; 0 deletes what is relayed
	Column string        // of type timestamp or timestamptz, from which After counts; empty when it is 0
}

func (r Retention) validate() error {
	var faults []error
	if r.Outbox != 0 && r.Outbox < 24*time.Hour {
		faults = append(faults, fmt.Errorf("Retention.Outbox %s is below 24h", r.Outbox))
	}
	for table, t := range r.Tables {
		switch {
		case ourTable(table):
			faults = append(faults, fmt.Errorf("Retention.Tables: %s is not a table of one's own, see Retention.Outbox", table))
		case t.After < 0:
			faults = append(faults, fmt.Errorf("Retention.Tables: %s: After %s is negative", table, t.After))
		case t.After > 0 && t.Column == "":
			faults = append(faults, fmt.Errorf("Retention.Tables: %s: Column is empty: After counts from a time in the row", table))
		}
	}
	return errors.Join(faults...)
}

const (
	retireEvery  = time.Hour
	retireTime   = time.Minute // for a drop, which unlinks files
	deleteEvery  = 10 * time.Second
	deleteRows   = 1000
	deletePause  = 100 * time.Millisecond // between batches: room for others
	deleteRarely = 10 * time.Minute       // at the longest, where nothing was due
	unprovenWait = 5 * time.Second
)

// tend removes old rows while the stream runs, on connections and goroutines of its
// own: it is never urgent, and must not hold up progress.
func (s *session) tend(ctx context.Context) {
	c := s.r.cfg.Retention
	if c.Outbox > 0 {
		s.background.Go(func() { repeat(ctx, func() time.Duration { return s.retire(ctx, c.Outbox) }) })
	}
	for table, t := range c.Tables {
		s.background.Go(func() { repeat(ctx, func() time.Duration { return s.deleteOld(ctx, table, t) }) })
	}
}

// repeat calls f after each pause that it asks for, until ctx ends.
func repeat(ctx context.Context, f func() time.Duration) {
	for {
		if !sleep(ctx, f()) {
			return
		}
	}
}

// retire takes partitions off the outbox, and drops what was taken off.
func (s *session) retire(ctx context.Context, keep time.Duration) time.Duration {
	if !s.r.retention.enter(ctx) {
		return retireEvery
	}
	defer s.r.retention.leave()
	ctx, cancel := context.WithTimeout(ctx, retireTime)
	defer cancel()
	var taken, dropped, kept, unproven int
	err := s.r.store.pool.QueryRow(ctx, sql.OutboxRetire, keep).Scan(&taken)
	if err == nil && taken == 0 {
		err = s.r.store.pool.QueryRow(ctx, sql.OutboxUnproven, keep).Scan(&unproven)
	}
	if err == nil {
		err = s.r.store.pool.QueryRow(ctx, sql.OutboxDropRetired).Scan(&dropped, &kept)
	}
	if err != nil {
		return s.retentionFailed(ctx, "gapless.outbox", err, retireEvery)
	}
	s.r.metrics.partitionsDropped.Add(float64(dropped))
	if taken > 0 || dropped > 0 {
		s.r.log.InfoContext(ctx, "old outbox partitions dropped", "taken_off", taken, "dropped", dropped, "keep", keep)
	}
	if unproven > 0 {
		s.r.log.WarnContext(ctx, "old outbox partitions stay: rows in them are not proven to be relayed", "rows", unproven, "keep", keep,
			"remedy", "see 'gapless relay status': a relay of this database may be down, or hold rows for a topic that is missing")
	}
	if kept > 0 {
		s.r.log.WarnContext(ctx, "tables taken off the outbox have rows that no proof covers yet", "tables", kept)
		return keepAgain
	}
	return retireEvery
}

// deleteOld deletes rows batch by batch, until there is none left to delete.
func (s *session) deleteOld(ctx context.Context, table string, t TableRetention) time.Duration {
	column := "NULL::timestamptz"
	if t.Column != "" {
		column = "o." + pgx.Identifier{t.Column}.Sanitize()
	}
	statement := on(strings.ReplaceAll(sql.RelayDeleteRelayed, "o.created_at", column), table)
	c := s.r.cfg
	quoted := on("gapless.outbox", table)
	total := int64(0)
	for {
		n, err := s.deleteBatch(ctx, func(ctx context.Context) (int64, error) {
			if total == 0 {
				if err := s.r.store.exec(ctx, sql.RelayTableSince, c.Slot, c.Publication, table, quoted); err != nil {
					return 0, err
				}
			}
			var deleted int64
			err := pgx.BeginFunc(ctx, s.r.store.pool, func(tx pgx.Tx) error {
				// The table's own triggers may need it.
				if _, err := tx.Exec(ctx, "SET LOCAL search_path TO DEFAULT"); err != nil {
					return err
				}
				tag, err := tx.Exec(ctx, statement, t.After, deleteRows, c.Slot, c.Publication, table, quoted)
				deleted = tag.RowsAffected()
				return err
			})
			return deleted, err
		})
		if err != nil {
			return s.retentionFailed(ctx, table, err, deleteEvery)
		}
		s.r.metrics.rowsDeleted.WithLabelValues(table).Add(float64(n))
		if total += n; n < deleteRows {
			break
		}
		if !sleep(ctx, deletePause) {
			break
		}
	}
	if total == 0 { // a look may read much of the table
		return max(deleteEvery, min(t.After/1000, deleteRarely))
	}
	s.r.log.DebugContext(ctx, "relayed rows deleted", "table", table, "rows", total)
	return deleteEvery
}

func (s *session) deleteBatch(ctx context.Context, f func(context.Context) (int64, error)) (int64, error) {
	if !s.r.retention.enter(ctx) {
		return 0, ctx.Err()
	}
	defer s.r.retention.leave()
	ctx, cancel := context.WithTimeout(ctx, retireTime)
	defer cancel()
	return f(ctx)
}

// turns are the connections that removing rows may hold at a time. A statement of it may
// wait for a minute: progress must not wait for a connection behind it.
type turns chan struct{}

// maxTurns of retention, however many tables it has.
const maxTurns = 2

// enter returns false when ctx ends first.
func (t turns) enter(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t turns) leave() { <-t }

// connections that it needs.
func (r Retention) connections() int {
	n := len(r.Tables)
	if r.Outbox > 0 {
		n++
	}
	return min(maxTurns, n)
}

// retentionFailed judges an error and returns when to try again; usually is when
// there is no hope that it passes soon.
func (s *session) retentionFailed(ctx context.Context, table string, err error, usually time.Duration) time.Duration {
	code := ""
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		code = pg.Code
	}
	switch {
	case ctx.Err() != nil:
		return usually
	case code == "55000": // nothing is proven yet, as in the first seconds of a slot
		s.r.log.DebugContext(ctx, "retention postponed", "table", table, "error", err)
		return unprovenWait
	case code == "55P03": // lock_not_available: a long transaction
		s.r.log.DebugContext(ctx, "retention postponed", "table", table, "error", err)
		return keepAgain
	}
	s.r.log.WarnContext(ctx, "retention failed, trying again later", "table", table, "error", err)
	return min(max(usually, unprovenWait), keepAgain)
}
