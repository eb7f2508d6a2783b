package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/sql"
)

// errResumed ends a stream that has read on while it was paused.
var errResumed = errors.New("resumed")

// signal is one row of the table.
type signal struct {
	id, kind string
	data     []byte // nil: none
	at       format.Position
}

// signalColumns are the places of id, type and data in the table.
type signalColumns [3]int

// signalTable finds the columns; nil when one is missing.
func signalTable(rel *pgoutput.Relation) *signalColumns {
	at := signalColumns{-1, -1, -1}
	for i, c := range rel.Columns {
		for j, name := range []string{"id", "type", "data"} {
			if string(c.Name) == name {
				at[j] = i
			}
		}
	}
	for _, i := range at {
		if i < 0 {
			return nil
		}
	}
	return &at
}

func (c *signalColumns) read(row []pgoutput.Column, at format.Position) signal {
	value := func(i int) []byte {
		if i >= len(row) {
			return nil
		}
		return row[i].Value
	}
	return signal{string(value(c[0])), string(value(c[1])), bytes.Clone(value(c[2])), at}
}

// signals is a session's part of them.
type signals struct {
	pending *signal       // not executed yet: nothing is read before it is
	tried   time.Duration // when it last was
	next    int64         // index of the next change, while the stream reads on paused
	ahead   bool          // it has

	snapshot *snapshotData // of the pending one
	poke     chan struct{} // for who runs replays
}

const signalAgain = time.Second // after a failure

// signal takes notice of a signal in its place.
func (s *session) signal(v signal) {
	log := s.r.log.With("id", v.id, "type", v.kind, "position", v.at.String())
	var data struct{ Message string }
	if len(v.data) > 0 && json.Unmarshal(v.data, &data) != nil {
		log.Warn("signal passed over: its data is no JSON object of the form that its type has")
		return
	}
	switch v.kind {
	case "log":
		log.Info("signal", "message", strings.ReplaceAll(data.Message, "{}", v.at.String()))
	case "pause", "resume":
		s.signals.pending, s.signals.tried = &v, 0
	case "execute-snapshot", "stop-snapshot", "pause-snapshot", "resume-snapshot":
		d, err := parseSnapshot(v)
		if err == nil && !s.r.keepsInPostgres() {
			err = errors.New("replays are kept in schema gapless, and this relay's state is in Kafka")
		}
		if err != nil {
			log.Warn("signal refused", "error", err)
			return
		}
		s.signals.pending, s.signals.snapshot, s.signals.tried = &v, d, 0
	case "snapshot-window-open", "snapshot-window-close":
		log.Debug("signal passed over: it is Debezium's note to itself")
	default:
		log.Warn("signal passed over: known are log, pause, resume and those of snapshots")
	}
}

// readsAhead tells that the stream is paused and reads on for the signal that ends it.
func (s *session) readsAhead() bool { return s.paused && s.r.cfg.SignalTable != "" }

// readAhead takes notice of a resume alone. The machine hears of nothing, so that the
// position stays.
func (s *session) readAhead(f []byte) error {
	m := &s.message
	if err := pgoutput.Decode(f, m); err != nil {
		return err
	}
	s.signals.ahead = true
	switch m.Kind {
	case pgoutput.KindBegin:
		s.begin(m)
		s.signals.next = 0
	case pgoutput.KindRelation:
		if s.isSignalTable(&m.Relation) {
			s.tables[m.Relation.ID] = s.signalsOf(&m.Relation)
		}
	case pgoutput.KindInsert:
		if t := s.tables[m.Row.RelationID]; t != nil && t.signal != nil {
			s.place.Index = s.signals.next
			if v := t.signal.read(m.Row.New, s.place); v.kind == "resume" {
				s.signal(v)
			}
		}
	}
	if m.Kind.IsChange() && (m.Kind != pgoutput.KindMessage || m.Logical.Transactional) {
		s.signals.next++
	}
	return nil
}

func (s *session) isSignalTable(rel *pgoutput.Relation) bool {
	return s.r.cfg.SignalTable == string(rel.Namespace)+"."+string(rel.Name)
}

// signalsOf is the signal table as its newest Relation has it.
func (s *session) signalsOf(rel *pgoutput.Relation) *table {
	t := &table{name: s.r.cfg.SignalTable, signal: signalTable(rel)}
	if t.signal == nil {
		s.r.log.Error("signals are passed over: the signal table has no columns id, type and data", "table", t.name)
	}
	return t
}

// reason is what is kept of it.
func (v *signal) reason() string { return fmt.Sprintf("signal %s at %s", v.id, v.at) }

func (s *store) signal(ctx context.Context, _ int64, system string, v *signal) error {
	statement := sql.RelaySignalPause
	if v.kind == "resume" {
		statement = sql.RelaySignalResume
	}
	return s.exec(ctx, statement, s.slot, system, v.at.Commit.String(), v.at.Index, v.reason())
}

// executeSignal has a signal done in the state, and then what is wished there: it may
// have been executed before, or be older than what an operator wants.
func (s *session) executeSignal(now time.Duration) func(context.Context) {
	v, d := *s.signals.pending, s.signals.snapshot
	s.signals.tried = now
	return func(ctx context.Context) {
		err := s.execute(ctx, v, d)
		if fault, ok := errors.AsType[snapshotError](err); ok {
			s.r.log.WarnContext(ctx, "signal refused", "id", v.id, "type", v.kind, "position", v.at.String(), "error", fault.error)
			err = nil
		}
		var w wish
		if err == nil {
			crashpoint.Hit("relay.after_signal")
			w, err = s.r.remembered().control(ctx)
		}
		s.inbox.result(func() {
			s.worker.busy = false
			if err != nil {
				s.failed(fmt.Errorf("execute signal %q: %w", v.id, err))
				return
			}
			s.signals.pending, s.signals.snapshot = nil, nil
			select {
			case s.signals.poke <- struct{}{}:
			default:
			}
			s.obey(w)
		})
	}
}

func (s *session) execute(ctx context.Context, v signal, d *snapshotData) error {
	if d != nil {
		return s.executeSnapshot(ctx, v, d)
	}
	return s.r.remembered().signal(ctx, s.incarnation, s.system.ID, &v)
}
