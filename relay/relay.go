package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/format"
)

// Relay streams the tables of one publication to a Sink.
type Relay struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	board     board
	store     *store
	state     atomic.Pointer[state]
	wake      chan struct{} // asks the watch to look now
	retention turns
	primary   bool      // the server was met as one
	keepAt    time.Time // when the outbox's partitions are due to be looked after

	// Of the newest stream, and on no other history does what follows hold.
	history     history
	incarnation atomic.Int64 // 0 before the first

	// poison holds what a sink has refused after it was sent: the next stream
	// parks it before anything behind it goes out.
	poison map[place]*format.Fault

	// ahead is what was acknowledged after the position, for the next stream to skip.
	ahead    []core.Point
	recalled bool // ahead has what the topics tell
	messages bool // are counted in the places of ahead and poison

	saidHeld map[string]bool // topics of which the log has said that they take nothing
}

// history is what positions and ids of transactions belong to.
type history struct {
	system   string
	timeline int32
}

// place is where a row was committed.
type place struct {
	timeline int32
	commit   core.LSN
	index    int64
}

// New checks cfg and registers the metrics. It does no I/O.
func New(cfg Config) (*Relay, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer, cfg.Slot)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	r := &Relay{cfg: cfg, log: cfg.Logger.With("slot", cfg.Slot), metrics: m, wake: make(chan struct{}, 1), retention: make(turns, maxTurns), poison: map[place]*format.Fault{}, saidHeld: map[string]bool{}}
	r.board.s = Status{State: Starting, Slot: cfg.Slot, Since: time.Now()}
	return r, nil
}

// Status tells what the relay is doing. Safe for concurrent use.
func (r *Relay) Status() Status { return r.board.status() }

// Run relays until ctx ends, and then returns nil after what was in flight is
// acknowledged, stored and confirmed, or StopTimeout has passed. It returns a
// *Refusal when going on would not be safe, and an error that is permanent
// (password, certificate, database, rights) if that is met before it first streams or stands by. What
// passes by itself it waits for. Run once.
func (r *Relay) Run(ctx context.Context) (err error) {
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.StopTimeout)
		defer cancel()
		if closed := r.cfg.Sink.Close(closing); closed != nil && err == nil {
			err = fmt.Errorf("close sink: %w", closed)
		}
		r.idle()
		r.metrics.forget() // nobody reads the server's figures any more
		r.board.become(Stopped, reason(err))
	}()
	if r.store, err = openStore(ctx, r.cfg); err != nil {
		return err
	}
	defer r.store.close()
	defer r.forgetState()
	watching, unwatch := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(watching) })
	if r.cfg.Heartbeat.Every > 0 {
		watch.Go(func() { r.beat(watching) })
	}
	defer watch.Wait()
	defer unwatch()

	var tries int
	var streamed, admitted bool // once
	for {
		began := time.Now()
		opened, err := r.session(ctx)
		r.idle()
		streamed = streamed || opened
		// Who stands by was let in, too: a password that does not fit any more is being
		// rotated.
		admitted = admitted || opened || errors.Is(err, errStandby) || slotTaken(err)
		if ctx.Err() != nil {
			return r.stopped(ctx, err)
		}
		if opened && time.Since(began) > r.cfg.ReconnectMax {
			tries = 0
		}
		pause, err := r.after(ctx, err, tries, streamed, admitted)
		if err != nil {
			return err
		}
		tries++
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// idle resets what a stream has shown and nobody keeps up to date after it.
func (r *Relay) idle() {
	r.metrics.idle()
	r.board.update(func(s *Status) {
		s.InFlight, s.InFlightBytes, s.Held, s.HeldTopics, s.LagSeconds, s.oldest = 0, 0, 0, nil, 0, time.Time{}
	})
}

// stopped judges the end of the last session.
func (r *Relay) stopped(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return r.advised(refusal)
	}
	// What was not stored is sent again by the next run: a stop, not a loss.
	r.log.WarnContext(ctx, "stopped before all was stored", "error", err)
	return nil
}

// after decides what a session's end means: an error ends Run, else the pause
// before the next try.
func (r *Relay) after(ctx context.Context, err error, tries int, streamed, admitted bool) (time.Duration, error) {
	var refusal *Refusal
	var sink *sinkError
	var kept *stateError
	switch {
	case errors.As(err, &refusal):
		return 0, r.advised(refusal)
	case errors.Is(err, errStandby) || slotTaken(err):
		if r.board.become(Standby, err.Error()) {
			r.log.InfoContext(ctx, "standing by", "reason", err)
		}
		// All standbys ask at their own moments, and often enough to take over
		// within a second.
		return jitter(400 * time.Millisecond), nil
	case errors.Is(err, errMoved):
		return 0, nil
	case errors.Is(err, errTopicBack):
		r.log.InfoContext(ctx, "a topic takes records again")
		r.resetSink(ctx)
		return 0, nil
	case errors.Is(err, errResumed):
		r.resetSink(ctx) // a failure of what is still in flight would be heard of by nobody
		return 0, nil
	case errors.Is(err, errFenced):
		r.log.ErrorContext(ctx, "lost the slot to another relay, standing by", "error", err)
		r.board.become(Standby, err.Error())
		r.resetSink(ctx) // a refusal of what is still in flight would be heard of by nobody
		return jitter(time.Second), nil
	case errors.As(err, &kept):
		if !admitted && kept.forbidden() {
			return 0, err
		}
		r.reconnecting(ctx, "state", "kafka", err)
		if streamed {
			r.resetSink(ctx)
		}
		return backoff(tries, r.cfg.ReconnectMax), nil
	case errors.As(err, &sink):
		r.reconnecting(ctx, "sink", sink.reason(), err)
		pause := backoff(tries, r.cfg.ReconnectMax)
		if r.resetSink(ctx) && sink.fault != nil {
			pause = 0 // the row is known now and will be parked
		}
		return pause, nil
	case publicationUnreadable(err):
		return 0, refuseSQL([]string{dropSlotSQL(r.cfg.Slot), makeSlotSQL(r.cfg.Slot), resendSQL(r.cfg.Slot), followSQL(r.cfg.Slot)},
			"A slot that is older than its publication cannot be read any more. "+byHand,
			"publication %q was made after slot %q, or was dropped under it", r.cfg.Publication, r.cfg.Slot)
	case errors.Is(err, ErrNoRetention), !admitted && permanent(err):
		return 0, err
	}
	r.reconnecting(ctx, "postgres", postgresReason(err), err)
	if streamed {
		// What is still in flight comes again in the next session. A failure of it
		// that nobody hears of any more would let later rows land first.
		r.resetSink(ctx)
	}
	return backoff(tries, r.cfg.ReconnectMax), nil
}

// publicationUnreadable recognises what the walsender says, at each start anew,
// when WAL that it must decode was written while there was no publication.
func publicationUnreadable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "42704" && pg.Routine == "get_publication_oid"
}

// resetSink tells whether it went well, or was cut off by the end of ctx.
func (r *Relay) resetSink(ctx context.Context) bool {
	err := r.cfg.Sink.Reset(ctx)
	if err != nil && ctx.Err() == nil {
		r.log.WarnContext(ctx, "reset sink", "error", err)
		return false
	}
	return true
}

func (r *Relay) reconnecting(ctx context.Context, peer, reason string, err error) {
	r.metrics.reconnects.WithLabelValues(peer, reason).Inc()
	r.board.update(func(s *Status) { s.Reconnects++ })
	if what, ok := pgconnect.Describe(err); ok && peer == "postgres" {
		if _, answered := errors.AsType[*pgconn.PgError](err); answered { // it is starting, or full
			r.board.become(Starting, what)
			r.log.WarnContext(ctx, "postgres takes no connection, waiting for it", "error", what)
			return
		}
		r.board.become(Starting, what+": "+awayRemedy)
		r.log.WarnContext(ctx, "postgres is away, waiting for it", "error", what, "remedy", awayRemedy)
		return
	}
	r.board.become(Starting, err.Error())
	r.log.WarnContext(ctx, "stream ended, trying again", "peer", peer, "error", err)
}

// awayRemedy is what to do about a server that cannot be reached.
const awayRemedy = "start it, or correct --database-url"

// postgresReason is a bounded label.
func postgresReason(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return "sqlstate_" + pg.Code
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return "connect"
	}
	return "stream"
}

// backoff doubles from 50 ms up to most, with jitter, so that many relays do not fall
// upon a server that comes back.
func backoff(tries int, most time.Duration) time.Duration {
	return jitter(min(most, 50*time.Millisecond<<min(tries, 16)))
}

// jitter spreads d over its upper half.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
