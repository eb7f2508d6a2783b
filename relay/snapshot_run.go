package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/sql"
)

// snapshots runs the replays that signals have asked for, one after the other, as long as
// the stream lives. Nothing of one is here but what its row in gapless.relay_replay says,
// so the next stream goes on with it, be it of another process.
type snapshots struct {
	r        *Relay
	held     func() bool // the stream is paused: nothing is sent
	replayer *Replayer   // while there are some
	passed   map[uuid.UUID]bool
	later    map[uuid.UUID]time.Time
}

const (
	snapshotAgain = 5 * time.Second        // after a failure
	snapshotLook  = 100 * time.Millisecond // for the end of a pause, and for what has to pass first
	snapshotTell  = time.Minute            // that something is waited for
)

func (s *session) runSnapshots(ctx context.Context) {
	if s.r.cfg.SignalTable == "" || !s.r.keepsInPostgres() {
		return
	}
	w := &snapshots{r: s.r, held: s.quiet.Load, passed: map[uuid.UUID]bool{}, later: map[uuid.UUID]time.Time{}}
	defer w.rest(ctx)
	for ctx.Err() == nil {
		wait := w.next(ctx)
		if wait == 0 {
			continue
		}
		w.rest(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-s.signals.poke:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// rest lets go of what only a replay needs.
func (w *snapshots) rest(ctx context.Context) {
	if w.replayer == nil {
		return
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := w.replayer.Close(closing); err != nil {
		w.r.log.WarnContext(ctx, "close the sink of replays", "error", err)
	}
	w.replayer = nil
}

// idle is how long is waited for where nothing is to be done before somebody asks.
const idle = time.Hour

// next runs the first replay that is not paused, and returns when to come again.
func (w *snapshots) next(ctx context.Context) time.Duration {
	open, err := w.r.openSnapshots(ctx)
	if err != nil {
		w.r.log.WarnContext(ctx, "replays by signal wait", "error", err)
		return snapshotAgain
	}
	wait := idle
	for _, o := range open {
		if o.Paused || w.passed[o.ID] {
			continue
		}
		if until := time.Until(w.later[o.ID]); until > 0 {
			wait = min(wait, until)
			continue
		}
		return w.run(ctx, o)
	}
	return wait
}

func (w *snapshots) run(ctx context.Context, o openSnapshot) time.Duration {
	state, err := w.replay(ctx, o.ID)
	log := w.r.log.With("replay", o.ID, "table", o.Table, "sent", state.Sent, "rows", state.Rows)
	switch {
	case ctx.Err() != nil:
	case err == nil && !state.Finished || errors.Is(err, errReplayPaused):
		log.InfoContext(ctx, "replay paused by a signal")
	case err == nil:
		log.InfoContext(ctx, "replay finished", "held", state.Held, "failed", state.Failed)
	case errors.Is(err, ErrReplayStopped):
		log.InfoContext(ctx, "replay stopped by a signal")
	case errors.Is(err, ErrReplayTaken):
		log.WarnContext(ctx, "replay left alone", "error", err)
		w.passed[o.ID] = true
	case errors.Is(err, ErrReplayInput):
		if failed := w.r.store.exec(ctx, sql.RelaySnapshotFailed, o.ID, err.Error()); failed != nil {
			log.WarnContext(ctx, "replays by signal wait", "error", failed)
			w.later[o.ID] = time.Now().Add(snapshotAgain)
			break
		}
		log.WarnContext(ctx, "replay given up: it cannot be carried out as the signal has it", "error", err, "remedy", snapshotRemedy(err))
	default:
		log.WarnContext(ctx, "replay interrupted, trying again", "error", err)
		w.later[o.ID] = time.Now().Add(snapshotAgain)
	}
	return 0
}

func snapshotRemedy(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
		return "grant the relay's login SELECT on the table and USAGE on its schema, and signal again"
	}
	return "correct it and signal again"
}

// replay runs it to its end, or until a signal pauses it.
func (w *snapshots) replay(ctx context.Context, id uuid.UUID) (ReplayState, error) {
	if err := w.open(ctx); err != nil {
		return ReplayState{}, err
	}
	p, err := w.replayer.take(ctx, id)
	for err == nil && !p.state.Finished && !p.paused {
		for w.held() {
			if !sleep(ctx, snapshotLook) {
				return p.state, ctx.Err()
			}
		}
		err = p.step(ctx)
	}
	return p.state, err
}

func (w *snapshots) open(ctx context.Context) error {
	if w.replayer != nil {
		return nil
	}
	doubler, ok := w.r.cfg.Sink.(Doubler)
	if !ok {
		return fmt.Errorf("%w: there is no second sink beside %T", ErrReplayInput, w.r.cfg.Sink)
	}
	sink, err := doubler.Double()
	if err != nil {
		return err
	}
	store, err := openStore(ctx, w.r.cfg)
	if err != nil {
		return errors.Join(err, sink.Close(ctx))
	}
	cfg := ReplayConfig{Slot: w.r.cfg.Slot, Tables: w.r.cfg.Tables, Sink: sink, Logger: w.r.log}
	w.replayer = &Replayer{cfg: cfg, store: store, patience: w.r.cfg.FilterTimeout, signalled: true}
	return nil
}

// plan finds out what a replay that a signal has asked for sends: all rows that were
// committed before the signal, and what the relay has passed since.
func (p *replay) plan(ctx context.Context) (first, last *time.Time, err error) {
	if err := p.orderBy(ctx); err != nil {
		return nil, nil, err
	}
	t, err := p.open(ctx, p.request)
	if err != nil {
		return nil, nil, err
	}
	snapshot, err := p.settled(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := p.refuseOthers(ctx, t); err != nil {
		return nil, nil, err
	}
	plan := ReplayPlan{Request: p.request, snapshot: snapshot}
	if err := t.count(ctx, p.store.pool, &plan); err != nil {
		return nil, nil, err
	}
	request, err := json.Marshal(p.request)
	if err != nil {
		return nil, nil, fmt.Errorf("plan replay: %w", err)
	}
	tag, err := p.store.pool.Exec(ctx, sql.RelaySnapshotPlanned, p.id, p.runs, request, snapshot, plan.Rows, plan.First, plan.Last)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("plan replay: %w", err)
	case tag.RowsAffected() == 0:
		return nil, nil, fmt.Errorf("replay %s: %w", p.id, ErrReplayTaken)
	}
	p.snapshot, p.state.Rows = snapshot, plan.Rows
	return plan.First, plan.Last, nil
}

// orderBy chooses the order where the signal does not: by the time of the rows, or as
// Debezium does by the primary key, which keeps no order of commits.
func (p *replay) orderBy(ctx context.Context) error {
	oid, err := p.store.tableOID(ctx, p.request.Table)
	if err != nil || oid == 0 || p.request.OrderBy != "" {
		return err
	}
	types, err := p.types(ctx, oid)
	if err != nil || types["created_at"] != "" {
		return err
	}
	if f, ok := (Config{Tables: p.cfg.Tables}).formatOf(p.request.Table).(eventrouter.Config); ok && types[f.Timestamp] != "" {
		p.request.OrderBy = f.Timestamp
		return nil
	}
	err = p.store.pool.QueryRow(ctx, sql.RelaySnapshotKey, oid).Scan(&p.request.OrderBy)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%w: table %s has no column created_at and no primary key: name the column that gives the order in surrogate-key", ErrReplayInput, p.request.Table)
	}
	if err != nil {
		return fmt.Errorf("look for a primary key: %w", err)
	}
	return nil
}

// settled takes a snapshot that sees all that was committed before the signal, and waits
// until the relay has passed it. A transaction that was open then may hold rows back of
// which only xmin tells, so its end is waited for.
func (p *replay) settled(ctx context.Context) (string, error) {
	told := time.Now()
	wait := func(what string) error {
		if now := time.Now(); now.Sub(told) >= snapshotTell {
			told = now
			p.cfg.Logger.WarnContext(ctx, "replay waits", "replay", p.id, "for", what)
		}
		if !sleep(ctx, snapshotLook) {
			return ctx.Err()
		}
		return p.wanted(ctx)
	}
	var snapshot, lsn string
	for settled := false; ; {
		if err := p.store.pool.QueryRow(ctx, sql.RelaySnapshotSettled, p.snapshot).Scan(&snapshot, &lsn, &settled); err != nil {
			return "", fmt.Errorf("take snapshot: %w", err)
		}
		if settled {
			break
		}
		if err := wait("the end of transactions that were open at the signal"); err != nil {
			return "", err
		}
	}
	if err := p.store.flush(ctx); err != nil {
		return "", err
	}
	tx, err := p.await(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	for {
		var active, passed, proven bool
		if err := tx.QueryRow(ctx, sql.RelayReplayPassed, p.cfg.Slot, lsn).Scan(&active, &passed, &proven); err != nil {
			return "", fmt.Errorf("read the relay's position: %w", err)
		}
		if passed && proven {
			return snapshot, nil
		}
		if err := wait("the stream to pass " + lsn); err != nil {
			return "", err
		}
	}
}

var errReplayPaused = errors.New("a signal has paused the replay")

// wanted tells by an error that a signal has ended the wait.
func (p *replay) wanted(ctx context.Context) error {
	var paused, ended bool
	if err := p.store.pool.QueryRow(ctx, sql.RelaySnapshotWanted, p.id).Scan(&paused, &ended); err != nil {
		return fmt.Errorf("look for the replay: %w", err)
	}
	switch {
	case ended:
		return ErrReplayStopped
	case paused:
		return errReplayPaused
	}
	return nil
}
