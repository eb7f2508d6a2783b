package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/sql"
)

// Run judges the installation once. It blocks until it is done or ctx ends, and
// may run beside everything else and beside itself. An error means that there is
// no judgement; a breach is no error, see [Report.Broken].
func Run(ctx context.Context, c Config) (Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Report{}, err
	}
	if c.Pool == nil {
		pool, err := pgxpool.New(ctx, c.DatabaseURL)
		if err != nil {
			return Report{}, fmt.Errorf("connect to Postgres: %w", err)
		}
		defer pool.Close()
		c.Pool = pool
	}
	k, err := openKafka(ctx, c)
	if err != nil {
		return Report{}, err
	}
	defer k.close()

	r := run{Config: c, kafka: k, ledger: newLedger(c.Examples)}
	r.report = Report{StartedAt: time.Now(), Invariants: newInvariants()}
	for _, step := range []func(context.Context) error{
		r.readSchema, r.readOutbox, r.awaitRelay, r.readParked, r.readKafka, r.judgePhantoms, r.judgeLoss, r.judgeEffects, r.judgeTables,
	} {
		if err := step(ctx); err != nil {
			return Report{}, err
		}
	}
	r.report.conclude()
	r.report.Took = time.Since(r.report.StartedAt)
	return r.report, nil
}

type run struct {
	Config
	kafka  *kafka
	ledger *ledger
	report Report

	schema schema
	passed bool   // the relay, the cut
	behind string // why it has not
}

// schema is what the database holds, and how far back.
type schema struct {
	Outbox       bool
	Inbox        bool
	Orders       bool
	Participants bool
	OutboxFloor  *time.Time
	InboxFloor   *time.Time
}

// incomplete notes that an invariant is there to be judged and was not.
func (r *run) incomplete(number int, format string, args ...any) {
	r.report.Invariants[number-1].Verdict = NotJudged
	r.report.Incomplete = append(r.report.Incomplete, fmt.Sprintf(format, args...))
}

// absent notes that what an invariant, or a part of it, speaks of is not here.
func (r *run) absent(format string, args ...any) {
	r.report.Absent = append(r.report.Absent, fmt.Sprintf(format, args...))
}

func (r *run) readSchema(ctx context.Context) error {
	rows, _ := r.Pool.Query(ctx, sql.VerifySchema)
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[schema])
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	if !s.Outbox {
		return errors.New("there is no table gapless.outbox in this database: run 'gapless migrate up', or look at --database-url")
	}
	r.schema = s
	return nil
}

// readOutbox takes the cut: snapshot first, LSN second, rows third.
func (r *run) readOutbox(ctx context.Context) error {
	return r.snapshot(ctx, func(tx pgx.Tx) error {
		var at time.Time
		if err := tx.QueryRow(ctx, sql.VerifyCut).Scan(&r.report.Cut.LSN, &at); err != nil {
			return fmt.Errorf("read LSN: %w", err)
		}
		rows, _ := tx.Query(ctx, sql.VerifyOutbox)
		n, err := r.eachRow(rows, func(v row) {
			r.ledger.addRow(r.TopicPrefix+v.aggregateType, v)
			if len(r.ledger.events)%progressEvery == 0 {
				r.Progress(Progress{Step: "read outbox", Done: int64(len(r.ledger.events))})
			}
		})
		r.report.Cut.Rows = n
		if err != nil {
			return fmt.Errorf("read outbox: %w", err)
		}
		return nil
	})
}

// progressEvery bounds how often Progress is called while rows or records stream.
const progressEvery = 20_000

func (r *run) eachRow(rows pgx.Rows, f func(row)) (int64, error) {
	var v row
	tag, err := pgx.ForEachRow(rows, []any{&v.id, &v.aggregateType, &v.key, &v.version, &v.kind, &v.at}, func() error {
		f(v)
		return nil
	})
	return tag.RowsAffected(), err
}

// snapshot runs f on one REPEATABLE READ snapshot.
func (r *run) snapshot(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, r.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, f)
}

// standing is where a relay is.
type standing struct {
	Position     *string  `db:"position"`
	Passed       bool     `db:"passed"`
	Active       bool     `db:"active"`
	SlotDatabase string   `db:"slot_database"` // "": there is no such slot
	Database     string   `db:"database"`
	Others       []string `db:"others"` // slots of this database's relays but for this
}

// awaitRelay waits until the relay has passed the cut, and keeps why it has not:
// whether that matters is seen once Kafka is read.
func (r *run) awaitRelay(ctx context.Context) error {
	tx, err := r.Pool.Begin(ctx)
	if err == nil {
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		_, err = tx.Exec(ctx, sql.RelayAwait, r.Slot)
	}
	if err != nil {
		return fmt.Errorf("ask for the position of the relay: %w", err)
	}
	args := pgx.StrictNamedArgs{"slot": r.Slot, "lsn": r.report.Cut.LSN}
	deadline := time.Now().Add(r.Wait)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		rows, _ := tx.Query(ctx, sql.VerifyRelay, args)
		s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[standing])
		if err != nil {
			return fmt.Errorf("read position of the relay: %w", err)
		}
		if s.Position != nil {
			r.report.Cut.Relay = *s.Position
		}
		if r.passed = s.Passed; r.passed {
			return nil
		}
		if s.foreign() || time.Now().After(deadline) {
			r.behind = s.why(r.Slot, r.report.Cut.LSN, r.Wait)
			if s.unknown() {
				r.incomplete(1, "%s", r.behind)
			}
			return nil
		}
		r.Progress(Progress{Step: "wait for the relay", Why: s.lacks(r.Slot, r.report.Cut.LSN)})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// foreign: no relay of this database will ever move that slot.
func (s standing) foreign() bool { return s.SlotDatabase != "" && s.SlotDatabase != s.Database }

// unknown: nothing tells that this slot is a relay's of this database, so that
// it may be misspelt.
func (s standing) unknown() bool { return s.Position == nil }

// lacks tells what is waited for.
func (s standing) lacks(slot, lsn string) string {
	switch {
	case s.unknown():
		return fmt.Sprintf("no relay has run on slot %q yet", slot)
	case !s.Active:
		return fmt.Sprintf("no relay is connected to slot %q", slot)
	}
	return fmt.Sprintf("the relay of slot %q stands at %s, not at %s", slot, *s.Position, lsn)
}

// why tells in one line what keeps rows from being judged, and how to mend it.
func (s standing) why(slot, lsn string, wait time.Duration) string {
	remedy := "start 'gapless relay', or name its slot with --slot"
	if len(s.Others) > 0 {
		remedy += " (here are " + strings.Join(s.Others, ", ") + ")"
	}
	switch {
	case s.foreign():
		return fmt.Sprintf("slot %q is of database %q, not of %q, and tells nothing of it: %s", slot, s.SlotDatabase, s.Database, remedy)
	case s.unknown():
		return fmt.Sprintf("no relay has ever run on slot %q: %s", slot, remedy)
	case s.SlotDatabase == "":
		return fmt.Sprintf("slot %q does not exist any more, and its relay came to %s, not to %s: start 'gapless relay', which says how to go on", slot, *s.Position, lsn)
	case !s.Active:
		return fmt.Sprintf("no relay is connected to slot %q, which stands at %s, not at %s: %s", slot, *s.Position, lsn, remedy)
	}
	return fmt.Sprintf("the relay of slot %q stands at %s and did not reach %s within %s: wait longer with --wait, or see 'gapless relay status'", slot, *s.Position, lsn, wait)
}

// readParked comes after the relay has passed the cut and before Kafka's ends: a
// row that is redriven between the two is seen as parked, or in Kafka.
func (r *run) readParked(ctx context.Context) error {
	rows, _ := r.Pool.Query(ctx, sql.VerifyParked)
	var id uuid.UUID
	_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
		if e := r.ledger.find(id); e != nil {
			e.state |= parked
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read parked rows: %w", err)
	}
	return nil
}
