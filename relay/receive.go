package relay

import (
	"context"
	"errors"
	"time"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/relay/replication"
)

// table is a published table as its newest Relation has it.
type table struct {
	name         string
	relation     pgoutput.Relation // a copy
	rows         format.Rows       // nil when it is left out
	fatalUpdates bool
	signal       *signalColumns // of the signal table
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
		s.late = s.conn.Behind(time.Duration(f.Sent-m.Begin.CommitTime) * time.Microsecond)
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
		s.foreign = s.foreign || !ourTable(name)
	}
	s.tables[rel.ID] = t
	s.last = nil
	return nil
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
	if fault == nil {
		fault = s.r.cfg.stateTopic(record.Topic)
	}
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
