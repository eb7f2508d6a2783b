package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/eventrouter"
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

// table is a published table as its newest Relation has it.
type table struct {
	name         string
	relation     pgoutput.Relation // a copy
	rows         format.Rows       // nil when it is left out
	fatalUpdates bool
	signal       *signalColumns // of the signal table
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

	full    string      // why the state takes no more parked rows
	paused  bool        // by an operator, or by a signal
	quiet   atomic.Bool // the same, for others to see
	signals signals

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
	s.ackFunc = s.inbox.ack
	s.signals.poke = make(chan struct{}, 1)
	if s.emissions, err = emissions(r.cfg); err != nil {
		return nil, err
	}
	settled, err := r.remembered().parkedAhead(ctx, position, p.system.Timeline)
	if err != nil {
		return nil, err
	}
	if p.messages != p.counted {
		if len(settled) > 0 {
			return nil, errMoved
		}
		if position, err = r.remembered().recount(ctx, incarnation, position, p.messages); err != nil {
			return nil, err
		}
	}
	s.machine = core.New(core.Config{
		Position: position, Ahead: core.Merge(r.ahead, settled), Confirmed: p.slotAt,
		MaxRecords: r.cfg.MaxRecords, MaxBytes: r.cfg.MaxBytes, ProgressEvery: r.cfg.ProgressEvery, StatusEvery: silence / 3,
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
		records, _ := s.machine.InFlight()
		s.inbox.wait(ctx, max(1, records/8), due)
		return nil
	}
	more, err := s.consume(ctx)
	if err != nil || more {
		return err
	}
	return s.conn.Fill(due)
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

func (s *session) receive(ctx context.Context, f *replication.Frame) error {
	m := &s.message
	if err := pgoutput.Decode(f.Data, m); err != nil {
		return err
	}
	switch m.Kind {
	case pgoutput.KindBegin:
		s.begin(m)
		// Both times are the server's: no clock has to agree with another.
		s.conn.Behind(time.Duration(f.Sent-m.Begin.CommitTime) * time.Microsecond)
		err := s.machine.Begin(s.place.Commit, s.place.CommitTime)
		crashpoint.Hit("relay.after_begin")
		return err
	case pgoutput.KindCommit:
		err := s.machine.Commit(core.LSN(m.Commit.CommitLSN), core.LSN(m.Commit.EndLSN))
		crashpoint.Hit("relay.after_commit")
		return err
	case pgoutput.KindRelation:
		return s.relation(ctx, &m.Relation)
	case pgoutput.KindMessage:
		return s.logical(&m.Logical)
	case pgoutput.KindInsert:
		return s.insert(&m.Row)
	case pgoutput.KindUpdate, pgoutput.KindDelete, pgoutput.KindTruncate:
		_, _, err := s.machine.Change()
		if t := s.tables[m.Row.RelationID]; m.Kind == pgoutput.KindUpdate && t != nil && t.fatalUpdates {
			return refuse("Find what updates outbox rows. To pass over updates, configure the table without that option, or ALTER PUBLICATION … SET (publish = 'insert').",
				"a row of %s was updated, and the table is configured to stop for that", t.name)
		}
		s.warnUnrouted(m.Kind.String())
		return err
	}
	return nil
}

func (s *session) begin(m *pgoutput.Message) {
	s.place = format.Position{
		Timeline: s.system.Timeline, Commit: core.LSN(m.Begin.CommitLSN), CommitTime: m.Begin.CommitTime,
	}
}

// warnUnrouted says once a stream what would otherwise fill the log.
func (s *session) warnUnrouted(kind string) {
	if !s.warned[kind] {
		s.warned[kind] = true
		s.r.log.Warn("change is not an insert and is not relayed", "kind", kind)
	}
}

func (s *session) relation(ctx context.Context, rel *pgoutput.Relation) error {
	if s.isSignalTable(rel) {
		s.tables[rel.ID], s.last = s.signalsOf(rel), nil
		return nil
	}
	// The end of ctx must not be an error here: the stream would break off where it
	// should finish in good order. storeTimeout bounds it.
	ctx = context.WithoutCancel(ctx)
	name := string(rel.Namespace) + "." + string(rel.Name)
	if _, own := s.r.cfg.Tables[name]; !own {
		var err error
		if name, err = s.r.store.eventTable(ctx, rel); err != nil {
			return err
		}
	}
	t := &table{name: name, relation: rel.Clone()}
	f := s.r.cfg.formatOf(name)
	if router, ok := f.(eventrouter.Config); ok {
		t.fatalUpdates = router.FatalUpdates
	}
	if f != nil {
		attributes, err := s.r.store.attributes(ctx, name, rel.ID)
		if err != nil {
			return err
		}
		rows, err := f.Prepare(&format.Table{Relation: rel, Attributes: attributes})
		if err != nil {
			return refuse("Give the table the column back, name another format for it, or take it out of the publication.", "%v", err)
		}
		t.rows = rows
	}
	s.tables[rel.ID] = t
	s.last = nil
	return nil
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

func (s *session) insert(row *pgoutput.Row) error {
	index, skip, err := s.machine.Change()
	if err != nil {
		return err
	}
	t, err := s.table(row.RelationID)
	if err != nil {
		return err
	}
	if !skip && t.signal != nil && s.collect == nil {
		s.place.Index = index
		s.signal(t.signal.read(row.New, s.place))
	}
	if skip || t.rows == nil {
		return nil
	}
	s.place.Index = index
	record, buf := s.slabs.next()
	return s.route(origin{table: t, row: row.New}, record, t.rows.Record(s.place, row.New, buf, record))
}

// recordOverhead is what a record in flight costs beside its bytes.
const recordOverhead = 1024

// route sends the record, or parks it when it cannot be sent or must wait
// behind one that could not.
func (s *session) route(o origin, record *format.Record, made error) error {
	var fault *format.Fault
	if made != nil && !errors.As(made, &fault) {
		return made
	}
	switch {
	case s.collect == nil:
	case fault == nil:
		return s.collect(record, core.Point{Commit: s.place.Commit, Index: s.place.Index})
	default:
		return nil // nobody can have sent it
	}
	s.slabs.keep(record)
	record.Seq = s.machine.Track(record.Size() + recordOverhead)
	crashpoint.Hit("relay.after_track")
	if fault == nil && len(s.r.poison) > 0 {
		fault = s.r.poison[placeOf(record)]
	}
	if fault != nil || s.waits(o.table.name, record) {
		return s.setAside(o, record, fault, made == nil)
	}
	s.lastSend = s.turnAt
	err := s.r.cfg.Sink.Send(record, s.ackFunc)
	if errors.As(err, &fault) {
		return s.setAside(o, record, fault, true)
	}
	if held, ok := errors.AsType[*HeldError](err); ok {
		s.holdBack(record, held)
		return nil
	}
	if err != nil {
		return &sinkError{err: err}
	}
	if s.sampleAt.IsZero() { // of a record that the sink has taken: it answers, or the stream ends
		s.sample, s.sampleAt = record.Seq, time.Now()
	}
	if s.r.cfg.Hooks.Sent != nil {
		s.r.cfg.Hooks.Sent(record)
	}
	crashpoint.Hit("relay.after_send")
	return nil
}

func placeOf(r *format.Record) place {
	return place{r.Position.Timeline, r.Position.Commit, r.Position.Index}
}

// takeInbox handles acknowledgements and outcomes of jobs.
func (s *session) takeInbox(now time.Duration) error {
	acks, results := s.inbox.take()
	for _, done := range results {
		done()
	}
	// What is acknowledged counts, whatever ends the stream now.
	failed := s.takeAcks(acks, now)
	if s.worker.fatal != nil {
		return s.worker.fatal
	}
	return failed
}

func (s *session) takeAcks(acks []ack, now time.Duration) (failed error) {
	if len(acks) == 0 {
		return nil
	}
	s.lastAck = now
	for _, a := range acks {
		if a.err == nil {
			s.acked(a.record, a.at)
		} else if held, ok := errors.AsType[*HeldError](a.err); ok {
			s.holdBack(a.record, held)
		} else if err := s.sinkFailed(a); failed == nil {
			failed = err
		}
	}
	crashpoint.Hit("relay.after_ack")
	return failed
}

func (s *session) acked(r *format.Record, at time.Time) {
	if s.topic == nil || s.topicTag != r.Topic {
		s.topic, s.topicTag = s.r.metrics.topic(r.Topic), r.Topic
		delete(s.r.saidHeld, r.Topic)
	}
	s.topic.published.Inc()
	age := at.Sub(r.CommitTime)
	s.r.metrics.commitToAck.Observe(seconds(age))
	if r.Seq == s.sample && !s.sampleAt.IsZero() {
		s.r.metrics.publish.Observe(seconds(at.Sub(s.sampleAt)))
		s.sampleAt = time.Time{}
	}
	if s.r.cfg.Hooks.Acked != nil {
		s.r.cfg.Hooks.Acked(r, age)
	}
	s.settled(r)
}

// settled gives the record back: it is safe in the sink or in gapless.parked.
func (s *session) settled(r *format.Record) {
	s.events++
	s.total++
	if r.CommitTime.After(s.lastCommit) {
		s.lastCommit = r.CommitTime
	}
	s.machine.Ack(r.Seq)
	s.slabs.done(r)
}

func (s *session) sinkFailed(a ack) error {
	s.r.metrics.topic(a.record.Topic).failed.Inc()
	var fault *format.Fault
	if errors.As(a.err, &fault) {
		s.r.poison[placeOf(a.record)] = fault
	}
	return &sinkError{err: a.err, fault: fault}
}

// act does what the machine asks for.
func (s *session) act(now time.Duration) error {
	e := s.machine.Step(now)
	if e.Write {
		s.saving, s.events = s.events, 0
		s.worker.queueSave(s.save(e.Progress))
	}
	if !e.Status {
		return nil
	}
	if err := s.conn.Status(e.Flush, time.Now(), false); err != nil {
		return err
	}
	crashpoint.Hit("relay.after_confirm")
	return nil
}
