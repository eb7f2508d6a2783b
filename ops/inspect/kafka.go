package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// InKafka reads and asks of relays whose state is in Kafka what the database cannot tell
// then. Of the database it needs no more than the right to connect.
type InKafka struct {
	DB     DB
	Config kafkastate.Config // but for the slot
}

// open reads the state of a slot to its end.
func (k InKafka) open(ctx context.Context, slot string) (*kafkastate.Log, error) {
	c := k.Config
	c.Slot, c.Create = slot, false
	l, err := kafkastate.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := l.End(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// in calls f with the state of a slot.
func (k InKafka) in(ctx context.Context, slot string, f func(*kafkastate.Slot)) error {
	l, err := k.open(ctx, slot)
	if err != nil {
		return err
	}
	defer l.Close()
	return l.View(f)
}

// Relays is the function Relays; without what only a table of the outbox could tell.
func (k InKafka) Relays(ctx context.Context, slot string) ([]Relay, error) {
	type found struct {
		Slot              string  `db:"slot"`
		Active            bool    `db:"active"`
		ActivePID         *int32  `db:"active_pid"`
		WALStatus         string  `db:"wal_status"`
		ConfirmedFlushLSN *string `db:"confirmed_flush_lsn"`
		RestartLSN        *string `db:"restart_lsn"`
		RetainedBytes     *int64  `db:"retained_bytes"`
		UnconfirmedBytes  *int64  `db:"unconfirmed_bytes"`
		SafeWALSize       *int64  `db:"safe_wal_size"`
		Runs              bool    `db:"runs"`
		WALBytes          int64   `db:"wal_bytes"`
		LookedAt          float64 `db:"looked_at"`
	}
	slots, err := list[found](ctx, k.DB, "slots", sql.OpsSlots, pgx.StrictNamedArgs{"slot": slot})
	if err != nil {
		return nil, err
	}
	if len(slots) == 0 && slot != "" {
		slots = []found{{Slot: slot, WALStatus: "missing"}}
	}
	var relays []Relay
	for _, f := range slots {
		r := Relay{
			Slot: f.Slot, Active: f.Active, ActivePID: f.ActivePID, WALStatus: f.WALStatus, ConfirmedFlushLSN: f.ConfirmedFlushLSN, RestartLSN: f.RestartLSN,
			RetainedBytes: f.RetainedBytes, UnconfirmedBytes: f.UnconfirmedBytes, SafeWALSize: f.SafeWALSize, Runs: f.Runs,
			WALBytes: f.WALBytes, LookedAt: f.LookedAt, HeldTopics: []string{}, StateTopic: k.Config.Topic,
		}
		if err := k.in(ctx, f.Slot, r.fromKafka); err != nil {
			return nil, err
		}
		if f.WALStatus == "missing" && r.ResumeLSN == nil {
			continue // there is nothing of that name
		}
		r.finish()
		relays = append(relays, r)
	}
	return relays, nil
}

func (r *Relay) fromKafka(s *kafkastate.Slot) {
	if p := s.Progress; s.HasPosition() {
		r.Timeline, r.ResumeLSN, r.Events, r.RelayID, r.LastCommitAt, r.UpdatedAt = &p.Timeline, &p.Resume, p.Events, p.RelayID, p.LastCommit, &p.UpdatedAt
		if at, err := core.ParseLSN(p.Resume); err == nil && r.WALStatus != "missing" {
			behind := r.WALBytes - int64(at)
			r.UnrelayedBytes = &behind
		}
	}
	for _, h := range s.Rows() {
		if h.Mark.Status == kafkastate.Waiting {
			r.Waiting++
		} else {
			r.Parked++
		}
	}
	r.Paused, r.PausedBy = s.Wish()
	if t := s.Status; t != nil && s.Progress != nil && t.Incarnation == s.Progress.Incarnation {
		r.ToldState, r.ToldReason, r.ToldAt, r.Held = t.State, t.Reason, &t.At, int64(t.Held)
		r.HeldTopics = append(r.HeldTopics, t.HeldTopics...)
		if t.Oldest != nil && r.Active {
			r.LagSeconds = max(0, time.Since(*t.Oldest).Seconds())
		}
	}
}

// moment is who asks, and when by the log.
type moment struct {
	Actor   string `db:"actor"`
	LSN     int64  `db:"lsn"`
	System  string `db:"system_id"`
	HasSlot bool   `db:"has_slot"`
}

// ErrOtherServer is the error for a slot of the state topic that is one of another server: what
// is asked of its relay is not meant for the database that was named.
var ErrOtherServer = errors.New("is another server's in the state topic: name its database, or this one's topic with --state-topic")

// asked opens the state of a slot that is of the server that was asked. One without a
// position may have come from another one, with its rows.
func (k InKafka) asked(ctx context.Context, slot string) (moment, *kafkastate.Log, error) {
	m, err := k.moment(ctx, slot)
	if err != nil {
		return m, nil, err
	}
	l, err := k.open(ctx, slot)
	if err != nil {
		return m, nil, err
	}
	broken := l.View(func(s *kafkastate.Slot) {
		if s.HasPosition() && s.Progress.SystemID != m.System {
			err = fmt.Errorf("slot %q %w", slot, ErrOtherServer)
		}
	})
	if err := errors.Join(broken, err); err != nil {
		l.Close()
		return m, nil, err
	}
	return m, l, nil
}

func (k InKafka) moment(ctx context.Context, slot string) (moment, error) {
	return one[moment](ctx, k.DB, "the moment", sql.OpsMoment, pgx.StrictNamedArgs{"slot": slot})
}

// Pause has the relays of a slot pause, or go on. It returns ErrNotFound where there is
// neither the slot nor a record of it.
func (k InKafka) Pause(ctx context.Context, slot string, paused bool, reason string) error {
	m, l, err := k.asked(ctx, slot)
	if err != nil {
		return err
	}
	defer l.Close()
	known := m.HasSlot
	if err := l.View(func(s *kafkastate.Slot) { known = known || s.HasPosition() }); err != nil {
		return err
	}
	if !known {
		return ErrNotFound
	}
	return l.Append(ctx, kafkastate.EntryOf(slot, kafkastate.Control{
		Paused: paused, Actor: m.Actor, Reason: reason, At: time.Now().UTC(), Wished: uint64(m.LSN),
	}))
}

// Forget lets the position of a slot go. It returns ErrNotFound where there is none.
func (k InKafka) Forget(ctx context.Context, slot, reason string) error {
	m, err := k.moment(ctx, slot)
	if err != nil {
		return err
	}
	l, err := k.open(ctx, slot)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Forget(ctx, m.Actor, reason); errors.Is(err, kafkastate.ErrNoRecord) {
		return ErrNotFound
	} else if err != nil {
		return err
	}
	return nil
}

// ParkedRows is the function ParkedRows.
func (k InKafka) ParkedRows(ctx context.Context, f ParkedFilter) (rows []Parked, err error) {
	_, l, err := k.asked(ctx, f.Slot)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	err = l.View(func(s *kafkastate.Slot) { rows = f.choose(s.Rows()) })
	return rows, err
}

// choose lists those of the open rows that are parked and that f takes.
func (f *ParkedFilter) choose(open []*kafkastate.Held) []Parked {
	rows := []Parked{}
	chosen := map[kafkastate.Place]bool{}
	byKey := map[string][]*kafkastate.Held{}
	for _, h := range open {
		chosen[h.At] = h.Mark.Status == kafkastate.Parked && f.takes(h)
		if key, ok := h.Key(); ok {
			byKey[key] = append(byKey[key], h)
		}
	}
	for _, h := range open {
		if !chosen[h.At] {
			continue
		}
		p := Parked{
			ID: h.Row.ID, Table: h.Row.Table, Key: h.Row.RowKey, Topic: h.Row.Topic, Reason: h.Mark.Reason, Error: h.Mark.Error,
			Attempts: h.Mark.Attempts, ParkedAt: h.Row.ParkedAt, Blocks: h.Row.Blocks, place: h.At,
			Position: fmt.Sprintf("%d/%s/%d", h.At.Timeline, core.LSN(h.At.Commit), h.At.Index),
		}
		if h.Row.EventID != uuid.Nil {
			p.EventID = &h.Row.EventID
		}
		if key, ok := h.Key(); ok {
			for _, other := range byKey[key] {
				switch c := other.At.Compare(h.At); {
				case c > 0:
					p.Behind++
				case c < 0 && other.Mark.Status == kafkastate.Parked && !chosen[other.At]:
					p.Ahead = true
				}
			}
		}
		rows = append(rows, p)
	}
	return rows
}

func (f *ParkedFilter) takes(h *kafkastate.Held) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, h.Row.ID)) &&
		(len(f.Events) == 0 || slices.Contains(f.Events, h.Row.EventID)) &&
		(f.Topic == "" || f.Topic == h.Row.Topic) &&
		(f.Key == "" || h.Row.RowKey != nil && f.Key == *h.Row.RowKey) &&
		(f.Table == "" || f.Table == h.Row.Table) &&
		(f.Fault == "" || f.Fault == h.Mark.Reason) &&
		(f.Since == nil || !h.Row.ParkedAt.Before(*f.Since)) &&
		(f.Until == nil || h.Row.ParkedAt.Before(*f.Until))
}

// RequestParked is the function RequestParked, for up to kafkastate.MaxChosen rows.
func (k InKafka) RequestParked(ctx context.Context, action, reason string, f ParkedFilter, rows []Parked) (Requested, error) {
	if len(rows) > kafkastate.MaxChosen {
		return Requested{}, fmt.Errorf("%d rows are chosen, and a request takes %d: choose fewer, by --until for example", len(rows), kafkastate.MaxChosen)
	}
	filter, err := json.Marshal(f)
	if err != nil {
		return Requested{}, fmt.Errorf("request %s: %w", action, err)
	}
	m, l, err := k.asked(ctx, f.Slot)
	if err != nil {
		return Requested{}, err
	}
	defer l.Close()
	r := kafkastate.Request{Action: action, Actor: m.Actor, Reason: reason, Filter: filter}
	for i := range rows {
		r.Rows = append(r.Rows, rows[i].place.String())
	}
	id, err := l.Ask(ctx, r)
	return Requested{Request: id, Rows: int64(len(r.Rows))}, err
}

// OutcomeOfParked is the function OutcomeOfParked.
func (k InKafka) OutcomeOfParked(ctx context.Context, slot string, request int64) (o ParkedOutcome, err error) {
	found := false
	err = k.in(ctx, slot, func(s *kafkastate.Slot) {
		r := s.Requests[request]
		if found = r != nil; !found {
			return
		}
		c := s.Outcome(request)
		o = ParkedOutcome{Finished: r.FinishedAt != nil, Sent: c.Sent, Discarded: c.Discarded, Failed: c.Failed, LeftOver: c.LeftOver, Fault: c.Fault}
	})
	if err == nil && !found {
		err = fmt.Errorf("show request %d: %w", request, ErrNotFound)
	}
	return o, err
}

// Measured is MeasuredRelays.
func (k InKafka) Measured(ctx context.Context, slot string, between time.Duration) ([]Relay, error) {
	return measured(ctx, between, func() ([]Relay, error) { return k.Relays(ctx, slot) })
}

// HasState tells whether the database has the tables of relays' state.
func HasState(ctx context.Context, db DB) (bool, error) {
	type place struct {
		Made     bool `db:"made"`
		Readable bool `db:"readable"`
		Makeable bool `db:"makeable"`
	}
	rows, _ := db.Query(ctx, sql.RelayPlace)
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[place])
	if err != nil {
		return false, fmt.Errorf("look for the place of the state: %w", err)
	}
	return found.Made, nil
}
