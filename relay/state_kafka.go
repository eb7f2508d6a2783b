package relay

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

const (
	// readTimeout bounds the reading of the topic to its end at a start. What was read
	// stays read when it is over.
	readTimeout = 30 * time.Second
	// stuckAfter is when an open transaction is looked for that keeps the topic from being
	// read.
	stuckAfter = 500 * time.Millisecond
	// takeTimeout bounds what is done while the slot is held and not served yet.
	takeTimeout = 8 * time.Second
)

// kafkaState is the relay's state in a compacted topic, see package kafkastate.
type kafkaState struct {
	log         *kafkastate.Log
	server      *store
	logger      *slog.Logger
	topic, slot string
	maxParked   int

	system string               // of the server, since take
	first  *kafkastate.Progress // what take begins with where there is no record
}

func openKafkaState(ctx context.Context, cfg Config, server *store) (*kafkaState, error) {
	c := cfg.Storage.log(cfg)
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	l, err := kafkastate.Open(ctx, c)
	if err != nil {
		return nil, judged("open", err)
	}
	return &kafkaState{log: l, server: server, logger: cfg.Logger, topic: c.Topic, slot: cfg.Slot, maxParked: cmp.Or(cfg.Storage.MaxParked, kafkastate.MaxRows)}, nil
}

func (k *kafkaState) close() { k.log.Close() }

// judged makes of an error what the relay knows it by.
func judged(what string, err error) error {
	if u, ok := errors.AsType[*kafkastate.UnusableError](err); ok {
		return &Refusal{What: u.What, Remedy: u.Remedy}
	}
	if errors.Is(err, kafkastate.ErrFenced) {
		return fmt.Errorf("%s state: %w", what, errFenced)
	}
	return &stateError{fmt.Errorf("%s: %w", what, err)}
}

func (k *kafkaState) write(ctx context.Context, what string, incarnation int64, entries ...kafkastate.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := k.log.Write(ctx, incarnation, entries...); err != nil {
		return judged(what, err)
	}
	return nil
}

// view calls f with the state as it is known.
func (k *kafkaState) view(what string, f func(*kafkastate.Slot)) error {
	if err := k.log.View(f); err != nil {
		return judged(what, err)
	}
	return nil
}

func (k *kafkaState) load(ctx context.Context) (p *progress, err error) {
	if err := k.end(ctx); err != nil {
		return nil, judged("load progress", err)
	}
	broken := k.view("load progress", func(s *kafkastate.Slot) {
		if s.HasPosition() {
			p = progressOf(s)
		}
	})
	if broken != nil || p == nil {
		return nil, broken
	}
	if err := p.parse(); err != nil {
		return nil, refuse("Find out who wrote it. "+byHandKafka(k.slot), "record %s/progress of topic %s cannot be read: %v", k.slot, k.topic, err)
	}
	return p, nil
}

// end reads the topic to its end. A relay that died in the middle of a write would keep it
// from being read for as long as its transaction may be open: that is aborted, if nobody
// has the slot.
func (k *kafkaState) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	soon, stop := context.WithTimeout(ctx, stuckAfter)
	defer stop()
	err := k.log.End(soon)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	if v, err := k.server.check(ctx); err != nil || v.Active {
		return errors.Join(err, k.log.End(ctx))
	}
	if err := k.log.Release(ctx); err != nil {
		k.logger.WarnContext(ctx, "an open transaction in the state topic cannot be looked for", "topic", k.topic, "error", err)
	}
	return k.log.End(ctx)
}

func progressOf(s *kafkastate.Slot) *progress {
	p := &progress{
		SystemID: s.Progress.SystemID, Timeline: s.Progress.Timeline, Resume: s.Progress.Resume,
		PartialIndex: s.Progress.PartialIndex, Incarnation: s.Progress.Incarnation, Proofs: []byte("[]"),
		Messages: s.Progress.Messages,
	}
	if partial := s.Progress.PartialCommit; partial != "" {
		p.PartialCommit = &partial
	}
	if until := s.Progress.TakeOver; until != "" {
		p.TakeOver = &until
	}
	if len(s.Proofs) > 0 {
		p.Proofs = bytes.Clone(s.Proofs)
	}
	return p
}

// create leaves the first record to take: without the fence another relay's, which had
// got the slot meanwhile, could be overwritten.
func (k *kafkaState) create(_ context.Context, system string, timeline int32, at core.Position, messages bool, takeOver core.LSN) error {
	k.first = &kafkastate.Progress{SystemID: system, Timeline: timeline, Messages: messages}
	if takeOver != 0 {
		k.first.TakeOver = takeOver.String()
	}
	setPosition(k.first, at)
	return nil
}

func setPosition(p *kafkastate.Progress, at core.Position) {
	p.Resume, p.PartialCommit, p.PartialIndex = at.Resume.String(), "", at.PartialIndex
	if partial := partialOf(at); partial != nil {
		p.PartialCommit = *partial
	}
}

func (k *kafkaState) take(ctx context.Context, id, system string, timeline int32) (core.Position, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	if err := k.log.Fence(ctx); err != nil {
		return core.Position{}, 0, judged("take", err)
	}
	crashpoint.Hit("relay.after_fence")
	var p *kafkastate.Progress
	isFirst, incarnation := false, int64(0)
	err := k.view("take progress", func(s *kafkastate.Slot) {
		if s.Progress != nil {
			incarnation = s.Progress.Incarnation
		}
		if isFirst = !s.HasPosition(); !isFirst {
			copied := *s.Progress
			p = &copied
		} else if k.first != nil {
			p = k.first
		}
	})
	switch {
	case err != nil:
		return core.Position{}, 0, err
	case p == nil, p.SystemID != system:
		return core.Position{}, 0, errMoved // it was forgotten meanwhile, or another server's relay made it
	}
	k.system = system
	p.Incarnation, p.RelayID, p.Timeline, p.UpdatedAt = incarnation+1, id, timeline, time.Now().UTC()
	entries := []kafkastate.Entry{kafkastate.EntryOf(k.slot, *p)}
	if isFirst {
		// Nothing tells whether a relay has run before on this slot, with a state that is lost.
		k.logger.WarnContext(ctx, "slot has no record yet in the state topic, its first one begins where the slot is", "topic", k.topic, "resume", p.Resume)
		entries = append(entries, kafkastate.EntryOf(k.slot, kafkastate.Proofs{Proofs: json.RawMessage("[]")}))
	}
	if err := k.write(ctx, "take progress", p.Incarnation, entries...); err != nil {
		return core.Position{}, 0, err
	}
	k.first = nil
	var partial *string
	if p.PartialCommit != "" {
		partial = &p.PartialCommit
	}
	at, err := parsePosition(p.Resume, partial, p.PartialIndex)
	return at, p.Incarnation, err
}

func (k *kafkaState) recount(ctx context.Context, incarnation int64, at core.Position, messages bool) (core.Position, error) {
	at = core.Position{Resume: at.Resume}
	var entries []kafkastate.Entry
	err := k.view("store what is counted", func(s *kafkastate.Slot) {
		if s.Progress == nil {
			return
		}
		p := *s.Progress
		setPosition(&p, at)
		p.Incarnation, p.Messages, p.UpdatedAt = incarnation, messages, time.Now().UTC()
		entries = append(entries, kafkastate.EntryOf(k.slot, p))
	})
	if err == nil && len(entries) == 0 {
		err = errMoved // an operator had it forgotten
	}
	if err != nil {
		return at, err
	}
	return at, k.write(ctx, "store what is counted", incarnation, entries...)
}

// maxPassed bounds the marks that go with one write of progress.
const maxPassed = 500

func (k *kafkaState) save(ctx context.Context, v save) error {
	proofs, err := json.Marshal(append([]proof{}, v.proofs...))
	if err != nil {
		return fmt.Errorf("save progress: %w", err)
	}
	var entries []kafkastate.Entry
	err = k.view("save progress", func(s *kafkastate.Slot) {
		if s.Progress == nil {
			return
		}
		p := *s.Progress
		setPosition(&p, v.position)
		p.Incarnation, p.Fingerprint, p.Events, p.UpdatedAt = v.incarnation, v.fingerprint, p.Events+v.events, time.Now().UTC()
		if !v.lastCommit.IsZero() {
			at := v.lastCommit.UTC()
			p.LastCommit = &at
		}
		entries = append(entries, kafkastate.EntryOf(k.slot, p))
		if !bytes.Equal(proofs, s.Proofs) {
			entries = append(entries, kafkastate.EntryOf(k.slot, kafkastate.Proofs{Proofs: proofs}))
		}
		entries = append(entries, s.Passed(uint64(v.position.Resume), maxPassed)...)
	})
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("save progress: %w", errFenced) // an operator had it forgotten
	}
	if err != nil {
		return err
	}
	return k.write(ctx, "save progress", v.incarnation, entries...)
}

func (k *kafkaState) control(context.Context) (w wish, err error) {
	err = k.view("read control", func(s *kafkastate.Slot) {
		w.Paused, w.Why = s.Wish()
		w.Requested = len(s.Unfinished()) > 0
	})
	return w, err
}

func (k *kafkaState) signal(ctx context.Context, incarnation int64, system string, v *signal) error {
	reading, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := k.log.End(reading); err != nil {
		return judged("execute signal", err)
	}
	g := kafkastate.Signal{
		Paused: v.kind == "pause", SystemID: system, LSN: uint64(v.at.Commit), Index: v.at.Index, Reason: v.reason(), At: time.Now().UTC(),
	}
	isDone := false
	err := k.view("execute signal", func(s *kafkastate.Slot) {
		o := s.Signal
		isDone = o != nil && o.SystemID == system && (o.LSN > g.LSN || o.LSN == g.LSN && o.Index >= g.Index)
	})
	if err != nil || isDone {
		return err
	}
	return k.write(ctx, "execute signal", incarnation, kafkastate.EntryOf(k.slot, g))
}

// tell is not fenced: the record names the incarnation, and nothing hangs on it.
func (k *kafkaState) tell(ctx context.Context, t told) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := k.log.Append(ctx, kafkastate.EntryOf(k.slot, kafkastate.Status{
		Incarnation: t.incarnation, State: string(t.state), Reason: t.reason, Held: t.held, HeldTopics: t.topics, Oldest: t.oldestAt(), At: time.Now().UTC(),
	}))
	if err != nil {
		return judged("store status", err)
	}
	return nil
}

// otherSlots leaves out those that are known to be of another publication.
func (k *kafkaState) otherSlots(ctx context.Context) ([]string, error) {
	type found struct {
		Slot        string `db:"slot"`
		Publication string `db:"publication"`
	}
	rows, err := k.server.pool.Query(ctx, sql.RelaySlots, k.slot, k.server.publication)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[found])
	if err != nil {
		return nil, err
	}
	var others []string
	err = k.view("read records", func(s *kafkastate.Slot) {
		for _, f := range all {
			of, _, _ := strings.Cut(s.Others[f.Slot], ".")
			if of == "" || of == f.Publication {
				others = append(others, f.Slot)
			}
		}
	})
	return others, err
}

// byHandKafka is byHand where the record is in Kafka.
func byHandKafka(slot string) string {
	return "Stop whatever writes to the outbox, run the statements that there are, let the record go with 'gapless relay forget --slot " + slot +
		" --reason …', start the relay, which then begins where the slot is, and write again the rows that may be missing;" +
		" events that were sent already come again with the same id."
}

// advise leaves out the statements on schema gapless, which is not there.
func (k *kafkaState) advise(r *Refusal) *Refusal {
	advised := &Refusal{What: r.What, Remedy: strings.NewReplacer(
		byHand, byHandKafka(k.slot), "run the statement and start", "have the record forgotten and start",
	).Replace(r.Remedy)}
	if words, _, ok := strings.Cut(advised.Remedy, inItsStead); ok {
		advised.Remedy = words + "let the record go with 'gapless relay forget --slot " + k.slot + " --reason …': the relay then begins where the slot is."
	}
	if strings.HasPrefix(r.What, anotherServer) {
		advised.Remedy += " Slots of the same name on several servers need a topic each: --state-topic."
	}
	for _, statement := range r.SQL {
		if !strings.Contains(statement, "gapless.relay_") {
			advised.SQL = append(advised.SQL, statement)
		}
	}
	if len(advised.SQL) < len(r.SQL) && !strings.Contains(advised.Remedy, "relay forget") {
		advised.Remedy += " The record is in topic " + k.topic + ": 'gapless relay forget --slot " + k.slot + " --reason …' lets it go, and the relay then begins where the slot is."
	}
	return advised
}
