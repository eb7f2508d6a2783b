package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/relay/replication"
	"github.com/gapless/gapless/sql"
)

// errMoved says that an earlier owner stored progress between our look at it
// and our taking the slot: start again from there.
var errMoved = errors.New("progress has moved")

// errAsleep says that this process was stopped for so long that another may have the
// slot: what it has read since is not sent any more.
var errAsleep = errors.New("this process did not run for longer than the server waits for it")

// sinkError ends a stream because of the sink.
type sinkError struct {
	err   error
	fault *format.Fault // set when it concerned one record, which is marked now
}

func (e *sinkError) Error() string { return "sink: " + e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

func (e *sinkError) reason() string {
	if e.fault != nil {
		return e.fault.Reason
	}
	return "sink"
}

// session is one stream, from START_REPLICATION to its end. All of it runs on
// one goroutine, which owns connection and machine; the sink's and the
// worker's come in through the inbox.
type session struct {
	r       *Relay
	conn    *replication.Conn
	machine *core.Machine
	inbox   *inbox
	ackFunc func(*format.Record, error)
	began   time.Time

	system      replication.System
	incarnation int64

	slabs   slabs
	message pgoutput.Message
	tables  map[uint32]*table
	lastID  uint32
	last    *table
	place   format.Position // of the open transaction

	emissions map[string]*emission // by prefix

	worker   worker
	want     wants
	blocked  map[string]struct{}
	parking  []*parked
	redrive  redrive
	proofs   []proof
	topic    *topicMetrics // of the record before
	topicTag string

	events     int64 // acknowledged and not in the record
	saving     int64
	lastCommit time.Time
	lastAck    time.Duration
	lastSend   time.Duration
	lastShown  time.Duration
	holding    bool
	asked      time.Duration
	warned     map[string]bool
	background sync.WaitGroup
	beside     context.Context // ends with the stream; for what runs in the background
	held       heldBack

	sample   uint64 // the record whose way through the sink is timed
	sampleAt time.Time

	turnAt       time.Duration // the clock as of this turn
	silence      time.Duration // after which the server gives the slot to another
	idleAt       time.Duration
	total, shown int64 // events acknowledged, and shown on the board

	fingerprint string // of the publication, as it was found or last proven
	foreign     bool   // there are events of tables of one's own

	full    string      // why the state takes no more parked rows
	unsure  bool        // the first of parking may be in the state: the answer was lost
	paused  bool        // by an operator, or by a signal
	quiet   atomic.Bool // the same, for others to see
	signals signals

	late    bool // the newest transaction was, when the server sent it
	gathers bool // what the sink was told last

	collect func(*format.Record, core.Point) error // in a look ahead: nothing is sent
}

// session runs one stream. opened tells that it got as far as streaming.
func (r *Relay) session(ctx context.Context) (opened bool, err error) {
	if r.board.status().State != Standby {
		r.board.become(Starting, "connecting")
	} else if v, err := r.store.check(ctx); err == nil && v.Active && !v.InRecovery {
		// A standby asks often: on the pooled connection, not on a new one.
		return false, fmt.Errorf("%w for pid %d", errStandby, v.ActivePID)
	}
	conn, err := r.store.dial(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		if e := conn.Close(closing); e != nil && err == nil {
			r.log.DebugContext(ctx, "close replication connection", "error", e)
		}
	}()
	crashpoint.Hit("relay.after_connect")
	s, err := r.open(ctx, conn)
	if err != nil {
		return false, err
	}
	wished, err := r.remembered().control(ctx)
	if err != nil {
		return false, err
	}
	r.metrics.leader.Set(1)
	r.lookNow()
	r.board.become(Streaming, "")
	s.obey(wished) // before anything is read
	r.log.InfoContext(ctx, "streaming", "resume", s.machine.Stored().Resume, "confirmed", s.machine.Confirmed(),
		"timeline", s.system.Timeline, "incarnation", s.incarnation)
	return true, s.run(ctx)
}

func (r *Relay) open(ctx context.Context, conn *replication.Conn) (*session, error) {
	p, err := r.prepare(ctx, conn)
	if err != nil {
		return nil, err
	}
	if t := r.cfg.SignalTable; t != "" && !p.server.signals {
		r.log.ErrorContext(ctx, "no signal can arrive, events go on", "reason", "publication "+r.cfg.Publication+" does not have the signal table",
			"table", t, "remedy", "make the table, and ALTER PUBLICATION "+quoted(r.cfg.Publication)+" ADD TABLE "+t)
	}
	// A relay that was stopped, or that the network has cut off, keeps the slot until
	// the server gives it up.
	silence := r.cfg.DeadAfter
	if ms := p.server.WALSenderTimeoutMS; ms > 0 && time.Duration(ms)*time.Millisecond < silence {
		silence = time.Duration(ms) * time.Millisecond
	} else if err := conn.SetSenderTimeout(ctx, silence); err != nil {
		return nil, err
	}
	err = conn.Start(ctx, replication.Options{
		Slot: r.cfg.Slot, Publication: r.cfg.Publication, Start: p.position.Resume, Messages: p.messages, Prefixes: r.cfg.prefixes(),
	})
	if err != nil {
		return nil, err
	}
	// The slot is ours. An earlier owner may have stored progress after our
	// look at it; from here on it cannot.
	position, incarnation, err := r.remembered().take(ctx, r.cfg.ID, p.system.ID, p.system.Timeline)
	if err != nil {
		return nil, err
	}
	if err := r.enter(history{p.system.ID, p.system.Timeline}, incarnation); err != nil {
		return nil, err
	}
	if p.messages != r.messages {
		r.messages, r.ahead = p.messages, nil
		clear(r.poison)
	}
	if position != p.position {
		return nil, errMoved
	}
	if err := r.remembered().adopt(ctx, incarnation); err != nil {
		return nil, err
	}
	if r.keepsInPostgres() {
		if err := r.store.exec(ctx, sql.RelayTableForget, r.cfg.Slot, r.cfg.leftOut()); err != nil {
			return nil, fmt.Errorf("forget tables that are left out: %w", err)
		}
	}
	blocked, err := r.remembered().parkedKeys(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{
		r: r, conn: conn, inbox: newInbox(), began: time.Now(),
		system: p.system, incarnation: incarnation, blocked: blocked, proofs: p.proofs,
		silence: silence, tables: map[uint32]*table{}, warned: map[string]bool{}, fingerprint: p.fingerprint,
	}
	s.foreign = slices.ContainsFunc(p.server.events, func(t string) bool { return !ourTable(t) })
	s.ackFunc = s.inbox.ack
	s.signals.poke = make(chan struct{}, 1)
	if s.emissions, err = emissions(r.cfg); err != nil {
		return nil, err
	}
	settled, err := r.remembered().parkedAhead(ctx, position, p.lineage)
	if err != nil {
		return nil, err
	}
	if p.messages != p.counted {
		if len(settled) > 0 {
			return nil, errMoved
		}
		if p.messages { // from here on the slot is not ahead of the record
			position.Resume = max(position.Resume, p.slotAt)
		}
		if position, err = r.remembered().recount(ctx, incarnation, position, p.messages); err != nil {
			return nil, err
		}
	}
	s.machine = core.New(core.Config{
		Position: position, Ahead: core.Merge(r.ahead, settled), Confirmed: p.slotAt,
		MaxRecords: r.cfg.MaxRecords, MaxBytes: r.cfg.MaxBytes, ProgressEvery: r.cfg.ProgressEvery, StatusEvery: silence / 3,
		Recorded: p.messages || !p.server.Readable,
	}, 0)
	s.want = newWants(r.cfg)
	return s, nil
}

func (s *session) now() time.Duration { return time.Since(s.began) }

func (s *session) run(ctx context.Context) error {
	s.worker.start(context.WithoutCancel(ctx))
	defer s.background.Wait()
	var done context.CancelFunc
	s.beside, done = context.WithCancel(ctx)
	defer done()
	s.tend(s.beside)
	s.background.Go(func() { s.runSnapshots(s.beside) })
	defer s.worker.stop(ctx, s.r.cfg.StopTimeout)
	defer func() {
		s.gather(false)
		s.publish()
		s.r.ahead = s.machine.Ahead()
	}()
	stop := context.AfterFunc(ctx, s.conn.Interrupt)
	defer stop()
	for ctx.Err() == nil {
		if err := s.turn(ctx); err != nil {
			s.salvage(ctx, err)
			return err
		}
	}
	return s.finish(ctx)
}

// turn takes what has come, does what is due, reads what there is room for,
// and waits for more where there is nothing.
func (s *session) turn(ctx context.Context) error {
	now := s.now()
	if now-s.turnAt >= s.silence {
		return errAsleep
	}
	if err := s.takeInbox(now); err != nil {
		return err
	}
	if err := s.act(now); err != nil {
		return err
	}
	s.jobs(now)
	s.show(ctx, now)
	due := min(s.machine.Due(now), s.want.due(s, now))
	if s.signals.pending != nil || s.paused && !s.readsAhead() || !s.paused && s.machine.Paused() {
		// The server is not read now, but status updates still go out: that is
		// what its timeout looks at.
		s.gather(false) // what would it wait for?
		records, _ := s.machine.InFlight()
		s.inbox.wait(ctx, max(1, records/8), due)
		return nil
	}
	s.gather(s.late)
	more, err := s.consume(ctx)
	if err != nil || more {
		return err
	}
	return s.conn.Fill(due)
}

// gather tells the sink whether its records may wait for company.
func (s *session) gather(on bool) {
	if on == s.gathers {
		return
	}
	s.gathers = on
	if sink, ok := s.r.cfg.Sink.(Gatherer); ok {
		sink.Gather(on)
	}
}

// burst and burstTime bound the frames between two looks at the inbox. A row may take its
// time: a route that backtracks has a tenth of a second.
const (
	burst     = 1024
	burstTime = time.Second
)

// consume handles frames that are in memory; more tells that it stopped before
// the last of them.
func (s *session) consume(ctx context.Context) (more bool, err error) {
	for n := range burst {
		if n%8 == 7 && s.now()-s.turnAt > burstTime {
			return true, nil
		}
		if s.signals.pending != nil || !s.paused && s.machine.Paused() {
			return true, nil
		}
		f, ok, err := s.conn.Next()
		if err != nil || !ok {
			return false, err
		}
		if s.paused {
			if f.Data == nil {
				s.machine.Keepalive(0, f.Reply) // what it tells of was not relayed
			} else if err := s.readAhead(f.Data); err != nil {
				return false, err
			}
			continue
		}
		if f.Data == nil {
			s.machine.Keepalive(f.End, f.Reply)
			continue
		}
		if err := s.receive(ctx, &f); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *session) table(id uint32) (*table, error) {
	if s.last != nil && s.lastID == id {
		return s.last, nil
	}
	t, ok := s.tables[id]
	if !ok {
		return nil, fmt.Errorf("row of relation %d, which the server has not described: %w", id, core.ErrProtocol)
	}
	s.last, s.lastID = t, id
	return t, nil
}
