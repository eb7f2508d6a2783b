package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/sql"
)

// slotRow is a line of doctor_slots.sql.
type slotRow struct {
	Name          string `db:"name"`
	Plugin        string `db:"plugin"`
	Database      string `db:"database"`
	Temporary     bool   `db:"temporary"`
	Active        bool   `db:"active"`
	WALStatus     string `db:"wal_status"`
	RetainedBytes int64  `db:"retained_bytes"`
	Invalidation  string `db:"invalidation"`
}

func (e *exam) slotRows(ctx context.Context) ([]slotRow, error) {
	return e.slots.get(func() ([]slotRow, error) { return rows[slotRow](ctx, e, sql.DoctorSlots, nil) })
}

// ownSlot is nil when there is none.
func (e *exam) ownSlot(ctx context.Context) (*slotRow, error) {
	list, err := e.slotRows(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Name == e.cfg.Slot {
			return &list[i], nil
		}
	}
	return nil, nil
}

// needsSlot is ownSlot for checks of what it is like.
func (e *exam) needsSlot(ctx context.Context) (*slotRow, error) {
	s, err := e.ownSlot(ctx)
	if err == nil && s == nil {
		err = &unjudged{fmt.Sprintf("slot %q does not exist", e.cfg.Slot), ""}
	}
	return s, err
}

// byRelay is the fix for what only the relay can tell how to mend without a loss.
const byRelay = "gapless relay: it refuses, and prints the SQL that loses nothing"

func (e *exam) slot(ctx context.Context) (verdict, error) {
	own, err := e.ownSlot(ctx)
	if err != nil {
		return verdict{}, err
	}
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case own == nil:
		fix := "gapless migrate up --slot " + e.cfg.Slot
		if p, err := e.record(ctx); err == nil && p.Recorded {
			fix = byRelay
		}
		return fault(fix, "slot %q does not exist", e.cfg.Slot), nil
	case own.Plugin != "pgoutput":
		return fault("name another slot with --slot", "slot %q belongs to plugin %q, not pgoutput", own.Name, own.Plugin), nil
	case own.Database != s.Database:
		return fault("name that database in --database-url, or another slot with --slot", "slot %q belongs to database %q, not %q", own.Name, own.Database, s.Database), nil
	}
	return well("slot %q is of this database", own.Name), nil
}

func (e *exam) slotWAL(ctx context.Context) (verdict, error) {
	own, err := e.needsSlot(ctx)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case own.WALStatus == "lost" || own.Invalidation != "":
		why := ""
		if own.Invalidation != "" {
			why = ": " + own.Invalidation
		}
		return fault(byRelay, "slot %q has lost WAL that it needs%s", own.Name, why), nil
	case own.WALStatus == "unreserved":
		return fault("let the relay catch up now, and ALTER SYSTEM SET max_slot_wal_keep_size to more", "slot %q is beyond max_slot_wal_keep_size: the next checkpoint may take its WAL", own.Name), nil
	}
	return well("%s", own.WALStatus), nil
}

// Without a limit the disk is one, and it is not known.
const retainedWarns = 10 << 30

func (e *exam) retainedWAL(ctx context.Context) (verdict, error) {
	own, err := e.needsSlot(ctx)
	if err != nil {
		return verdict{}, err
	}
	s, err := e.server(ctx)
	if err != nil {
		return verdict{}, err
	}
	const fix = "start 'gapless relay' or look at its log; a transaction that is open for long keeps WAL too"
	held := inspect.Size(own.RetainedBytes)
	switch {
	case s.KeepBytes < 0 && own.RetainedBytes > retainedWarns:
		return warn(fix, "%s of WAL is kept for slot %q, with no limit but the disk", held, own.Name), nil
	case s.KeepBytes < 0:
		return well("%s of WAL is kept", held), nil
	case own.RetainedBytes > s.KeepBytes/10*9:
		return fault(fix, "%s of WAL is kept for slot %q, which is lost at %s", held, own.Name, inspect.Size(s.KeepBytes)), nil
	case own.RetainedBytes > s.KeepBytes/2:
		return warn(fix, "%s of WAL is kept for slot %q, which is lost at %s", held, own.Name, inspect.Size(s.KeepBytes)), nil
	}
	return well("%s of WAL is kept, the slot is lost at %s", held, inspect.Size(s.KeepBytes)), nil
}

// idleHolds is as much as an idle slot may keep before it is worth a word: a file of WAL.
const idleHolds = 16 << 20

func (e *exam) otherSlots(ctx context.Context) (verdict, error) {
	list, err := e.slotRows(ctx)
	if err != nil {
		return verdict{}, err
	}
	var idle []string
	first := ""
	for _, s := range list {
		if s.Name == e.cfg.Slot || s.Active {
			continue
		}
		var what string
		switch {
		case s.WALStatus == "lost" || s.Invalidation != "":
			what = "is invalid"
		case s.RetainedBytes > idleHolds:
			what = "is idle and keeps " + inspect.Size(s.RetainedBytes)
		default:
			continue
		}
		idle = append(idle, fmt.Sprintf("%s (%s) %s", s.Name, strings.TrimSpace(s.Plugin+" "+s.Database), what))
		if first == "" {
			first = s.Name
		}
	}
	if len(idle) > 0 {
		return warn("start what reads it, or SELECT pg_drop_replication_slot("+literal(first)+")", "%s", some(idle)), nil
	}
	return well("%d slots in all", len(list)), nil
}

// record is what doctor_progress.sql says.
type record struct {
	Recorded       bool   `db:"recorded"`
	SystemID       string `db:"system_id"`
	Timeline       int32  `db:"timeline"`
	Resume         string `db:"resume"`
	ServerSystemID string `db:"server_system_id"`
	ServerTimeline int32  `db:"server_timeline"`
	ServerLSN      string `db:"server_lsn"`
	Ahead          bool   `db:"ahead"`
}

func (e *exam) record(ctx context.Context) (record, error) {
	if _, err := e.needsOutbox(ctx); err != nil {
		return record{}, err
	}
	return row[record](ctx, e, sql.DoctorProgress, pgx.StrictNamedArgs{"slot": e.cfg.Slot})
}

func (e *exam) progress(ctx context.Context) (verdict, error) {
	p, err := e.record(ctx)
	if err != nil {
		return verdict{}, err
	}
	own, err := e.ownSlot(ctx)
	if err != nil {
		return verdict{}, err
	}
	switch {
	case !p.Recorded:
		return well("no relay has run on slot %q yet", e.cfg.Slot), nil
	case own == nil:
		return fault(byRelay, "slot %q is gone, and its record is at %s", e.cfg.Slot, p.Resume), nil
	case p.SystemID != p.ServerSystemID:
		return fault("name the server that the relay was relaying from in --database-url, or a new slot",
			"the record is of another server: its system identifier is %s, this one's %s", p.SystemID, p.ServerSystemID), nil
	case p.Timeline > p.ServerTimeline:
		return fault("name the promoted server in --database-url", "the server is on timeline %d, the record on %d: it is an old primary", p.ServerTimeline, p.Timeline), nil
	case p.Ahead && p.Timeline == p.ServerTimeline:
		return fault(byRelay, "the record is at %s, ahead of the server's WAL, which ends at %s: the server lost commits", p.Resume, p.ServerLSN), nil
	}
	return well("the record is at %s, the server at %s", p.Resume, p.ServerLSN), nil
}

// relayState is what 'relay status' shows of the slot; nil: nothing.
type relayState struct{ inspect.Relay }

func (e *exam) relay(ctx context.Context) (*relayState, error) {
	if _, err := e.needsOutbox(ctx); err != nil {
		return nil, err
	}
	if _, err := e.needsSlot(ctx); err != nil {
		return nil, err
	}
	return e.relays.get(func() (s *relayState, err error) {
		err = e.read(ctx, func(tx pgx.Tx) error {
			list, err := inspect.Relays(ctx, tx, e.cfg.Slot)
			if err == nil && len(list) == 0 {
				err = &unjudged{fmt.Sprintf("slot %q is not of this database and pgoutput", e.cfg.Slot), ""}
			}
			if err == nil {
				s = &relayState{list[0]}
			}
			return err
		})
		return s, err
	})
}

func (e *exam) streaming(ctx context.Context) (verdict, error) {
	own, err := e.needsSlot(ctx)
	if err != nil {
		return verdict{}, err
	}
	if !own.Active {
		return warn("gapless relay --slot "+own.Name+" --publication "+e.cfg.Publication+", and with the --config that doctor was given", "nothing reads slot %q: events wait, and WAL is kept for them", own.Name), nil
	}
	return well("slot %q is active", own.Name), nil
}

func (e *exam) paused(ctx context.Context) (verdict, error) {
	s, err := e.relay(ctx)
	if err != nil {
		return verdict{}, err
	}
	if s.Paused {
		return warn("gapless relay resume --slot "+e.cfg.Slot+" --reason '…'", "paused by %s", s.PausedBy), nil
	}
	return well("not paused"), nil
}

// An event may be so old before it has left.
const (
	lagWarns = 30 * time.Second
	lagFault = 10 * time.Minute
)

func (e *exam) lag(ctx context.Context) (verdict, error) {
	s, err := e.relay(ctx)
	if err != nil {
		return verdict{}, err
	}
	lag := seconds(s.LagSeconds)
	const fix = "look at the relay's log and at /status of its --ops-listen: they say what it holds for"
	switch {
	case lag > lagFault:
		return fault(fix, "the oldest event that has not left is %s old", lag), nil
	case lag > lagWarns:
		return warn(fix, "the oldest event that has not left is %s old", lag), nil
	}
	return well("%s behind", lag), nil
}

func (e *exam) parked(ctx context.Context) (verdict, error) {
	if _, err := e.needsOutbox(ctx); err != nil {
		return verdict{}, err
	}
	type parked struct {
		Parked  int64  `db:"parked"`
		Waiting int64  `db:"waiting"`
		Reasons string `db:"reasons"`
	}
	p, err := row[parked](ctx, e, sql.DoctorParked, pgx.StrictNamedArgs{"slot": e.cfg.Slot})
	if err != nil {
		return verdict{}, err
	}
	if p.Parked+p.Waiting == 0 {
		return well("none is parked"), nil
	}
	return warn("gapless relay redrive --slot "+e.cfg.Slot+" --all --dry-run shows them; mend what the reason says, then redrive, or relay discard, with --reason '…'",
		"parked: %s (%s); waiting behind on their keys: %d", terminal.Count(p.Parked, "row"), p.Reasons, p.Waiting), nil
}
