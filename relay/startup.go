package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/replication"
	"github.com/gapless/gapless/sql"
)

// errStandby says that another relay has the slot.
var errStandby = errors.New("slot is active")

// errRecovery says that the server is a standby, which it may cease to be.
var errRecovery = errors.New("server is a standby")

// refuseStandby refuses one only at a start that has never met a primary. Later
// it is a switchover under way: the old primary answers before the new one does.
func (r *Relay) refuseStandby(v server) error {
	switch {
	case !v.InRecovery:
		r.primary = true
		return nil
	case !r.primary:
		return refuse("Point the relay at the primary.", "%v", errRecovery)
	}
	return errRecovery
}

// refuseServer checks what no reconnect can mend.
func refuseServer(v server, cfg Config, inPostgres bool) error {
	if v.WALLevel != "logical" {
		return refuse("Set wal_level = logical and restart the server.", "wal_level is %s, not logical", v.WALLevel)
	}
	if inPostgres && !v.Migrated {
		return refuse("Run 'gapless migrate up'.", "database %q has no schema of Gapless", v.Database)
	}
	if !v.PublicationExists {
		return refuseSQL([]string{makePublicationSQL(cfg.Publication, cfg.eventTables(v)...), dropSlotSQL(cfg.Slot), makeSlotSQL(cfg.Slot), resendSQL(cfg.Slot), followSQL(cfg.Slot)},
			"If the name is misspelt, correct --publication. Else make it again, naming outbox tables of your own too. "+
				"A slot that is older than its publication cannot be read any more. "+byHand,
			"publication %q does not exist", cfg.Publication)
	}
	if err := refuseInner(v, cfg); err != nil {
		return err
	}
	if len(v.PublicationTables) == 0 {
		return refuseSQL([]string{resendSQL(cfg.Slot)}, "Add the outbox tables: ALTER PUBLICATION … ADD TABLE …. If rows were written meanwhile: "+byHand,
			"publication %q has no table", cfg.Publication)
	}
	if !v.PublishesInserts {
		return refuseSQL([]string{"ALTER PUBLICATION " + quoted(cfg.Publication) + " SET (publish = 'insert')", resendSQL(cfg.Slot)},
			"The second statement is for rows that were written meanwhile. "+byHand,
			"publication %q does not publish inserts", cfg.Publication)
	}
	if v.HasDeadLetters && slices.Contains(v.PublicationTables, "gapless.outbox") && !slices.Contains(v.PublicationTables, "gapless.dead_letter") {
		return refuse("Run ALTER PUBLICATION "+cfg.Publication+" ADD TABLE gapless.dead_letter. Dead letters written meanwhile are in that table and in no topic.",
			"publication %q publishes gapless.outbox, but not gapless.dead_letter: parked messages would reach no topic", cfg.Publication)
	}
	if i := slices.IndexFunc(v.PublicationTables, func(t string) bool { return strings.HasPrefix(t, outboxPartition) }); i >= 0 {
		return refuse("Run ALTER PUBLICATION … SET (publish_via_partition_root = true).",
			"publication %q publishes partition %s in place of gapless.outbox", cfg.Publication, v.PublicationTables[i])
	}
	return nil
}

// refuseSlot checks the slot that is there.
func refuseSlot(v server, cfg Config) error {
	if v.Plugin != "pgoutput" {
		return refuse("Name another slot with --slot, or drop this one if nothing reads it.",
			"slot %q belongs to plugin %q, not pgoutput", cfg.Slot, v.Plugin)
	}
	if v.SlotDatabase != v.Database {
		return refuse("Give the URL of that database, or name another slot.",
			"slot %q belongs to database %q, not %q", cfg.Slot, v.SlotDatabase, v.Database)
	}
	if v.WALStatus == "lost" {
		return SlotLost(cfg.Slot)
	}
	return nil
}

const anotherServer = "server is another one"

// lineage is a server's timeline, and where it left each of those before it.
type lineage struct {
	system   string // the server's identifier
	timeline int32
	left     map[int32]core.LSN
	unknown  error // why left is not known
}

func lineageOf(ctx context.Context, conn *replication.Conn, s replication.System) lineage {
	left, err := conn.History(ctx, s.Timeline)
	return lineage{s.ID, s.Timeline, left, err}
}

// refuseIdentity compares the server with the record.
func refuseIdentity(slot string, p progress, sys replication.System, on lineage) error {
	if p.SystemID != sys.ID {
		return refuse("Point the relay at the server it was relaying from, or name a new slot with a record of its own.",
			anotherServer+": its system identifier is %s, the progress record has %s", sys.ID, p.SystemID)
	}
	if sys.Timeline < p.Timeline {
		return refuse("Point the relay at the promoted server.",
			"server is on timeline %d, the progress record on %d: it is an old primary", sys.Timeline, p.Timeline)
	}
	if p.position.Resume > sys.Flushed && sys.Timeline == p.Timeline {
		return refuseSQL([]string{resendSQL(slot), followSQL(slot)},
			"If the server is the wrong one, point the relay at the right one. If it has lost commits (restored, or run without fsync), consumers"+
				" may have events that it does not have: find those first. "+byHand,
			"stored position %s is ahead of the server's WAL, which ends at %s", p.position.Resume, sys.Flushed)
	}
	if sys.Timeline == p.Timeline {
		return nil
	}
	if on.unknown != nil {
		return on.unknown
	}
	at, isAncestor := on.left[p.Timeline]
	if !isAncestor {
		return refuseSQL([]string{resendSQL(slot), followSQL(slot)}, "The promoted server did not have all that was relayed, so consumers may have events that it does not have: find those first. "+byHand,
			"stored position %s is on timeline %d, which the server's timeline %d does not come from", p.position.Resume, p.Timeline, sys.Timeline)
	}
	// Of a transaction that is half sent the commit record begins there: at the point it is
	// not on the new timeline any more.
	if p.position.Resume > at || p.position.PartialCommit >= at {
		return refuseSQL([]string{resendSQL(slot), followSQL(slot)},
			"The promoted server did not have all that was relayed, so consumers may have events that it does not have: find those first. "+byHand,
			"stored position %s is past %s, where timeline %d left the old one", p.position.Resume, at, sys.Timeline)
	}
	return nil
}

// enter begins a stream on a history of the server. Of another one, nothing that this
// process remembers holds. On the same one incarnations only grow: a server that has lost
// the last one has lost commits with it, and gives their positions to others.
func (r *Relay) enter(h history, incarnation int64) error {
	r.on(h)
	if last := r.incarnation.Load(); incarnation <= last {
		return r.goneBack("has gone back: its incarnation is %d, and was %d before", incarnation, last)
	}
	r.incarnation.Store(incarnation)
	return nil
}

// on forgets what belongs to another history than h.
func (r *Relay) on(h history) {
	if h == r.history {
		return
	}
	r.history, r.ahead, r.recalled = h, nil, false
	clear(r.poison)
	r.incarnation.Store(0)
}

func (r *Relay) goneBack(what string, args ...any) error {
	return refuse("If the database is the wrong one, point the relay at the right one. If it was restored, or has lost commits, consumers may have events that it does not have: "+
		"find those first. Started again, the relay goes on from what is there now.", "progress record of slot %q "+what, append([]any{r.cfg.Slot}, args...)...)
}

// start is a stream about to begin.
type start struct {
	server   server
	system   replication.System
	lineage  lineage
	position core.Position
	slotAt   core.LSN // confirmed_flush_lsn
	proofs   []proof

	messages bool // the stream has logical messages
	counted  bool // and so had the one that the record is of

	fingerprint string // of the publication
}

// prepare makes every check of a (re)start and finds the position. It sends
// nothing and moves nothing, but for the slot and the first record where there
// is none and the outbox is empty.
func (r *Relay) prepare(ctx context.Context, conn *replication.Conn) (start, error) {
	var s start
	var err error
	if s.system, err = conn.Identify(ctx); err != nil {
		return s, err
	}
	s.lineage = lineageOf(ctx, conn, s.system)
	if s.server, err = r.check(ctx); err != nil {
		return s, err
	}
	if err := r.refuseStandby(s.server); err != nil {
		r.store.pool.Reset() // the next look may lead to another server
		return s, err
	}
	if r.remembered() == nil {
		if !s.server.Migrated && len(s.server.PublicationTables) == 0 && r.cfg.Storage.Place != Kafka {
			return s, refuseServer(s.server, r.cfg, true) // there is nothing to relay that a schema could be made for
		}
		if err := r.choose(ctx, s.system.ID); err != nil {
			return s, err
		}
		if !s.server.Migrated { // the schema may have been made
			if s.server, err = r.check(ctx); err != nil {
				return s, err
			}
		}
	}
	if err := refuseServer(s.server, r.cfg, r.keepsInPostgres()); err != nil {
		return s, err
	}
	// Before the record is judged by it: what is changed later is found by a proof.
	if s.fingerprint, err = r.store.fingerprint(ctx); err != nil {
		return s, err
	}
	record, err := r.remembered().load(ctx)
	if err != nil {
		return s, err
	}
	if !s.server.SlotExists {
		if record != nil {
			return s, SlotMissing(r.cfg.Slot)
		}
		if r.cfg.TakeOver != nil || r.cfg.TakeOverTopics {
			return s, refuse("If the name is misspelt, correct --slot. Else start without taking over, on a new slot: what was written since the old one was dropped is in the tables alone.",
				"slot %q does not exist, so there is nothing to take over", r.cfg.Slot)
		}
		if err := r.makeSlot(ctx, s.server.events); err != nil {
			return s, err
		}
		if s.server, err = r.check(ctx); err != nil {
			return s, err
		}
	}
	if err := refuseSlot(s.server, r.cfg); err != nil {
		return s, err
	}
	if s.server.Active {
		return s, fmt.Errorf("%w for pid %d", errStandby, s.server.ActivePID)
	}
	if s.server.ConfirmedFlush == nil {
		return s, fmt.Errorf("slot %q has no confirmed position yet", r.cfg.Slot)
	}
	if s.slotAt, err = core.ParseLSN(*s.server.ConfirmedFlush); err != nil {
		return s, err
	}
	if record == nil {
		if r.history != (history{}) {
			return s, r.goneBack("is gone, which this relay had stored")
		}
		if err := r.refuseUnrecorded(ctx, s.server.events); err != nil {
			return s, err
		}
		// Who had the slot until a moment ago may have sent what came after our look.
		if s.system, err = conn.Identify(ctx); err != nil {
			return s, err
		}
		s.messages = r.cfg.wantsMessages()
		s.counted = s.messages
		var until core.LSN
		if s.position, until, err = r.takenOver(ctx, s); err != nil {
			return s, err
		}
		return s, r.remembered().create(ctx, s.system.ID, s.system.Timeline, s.position, s.messages, until)
	}
	// Who had the slot until a moment ago may have stored it after our look at the server. (A
	// server that has lost commits and written as much again since passes either look.)
	if record.position.Resume > s.system.Flushed {
		if s.system, err = conn.Identify(ctx); err != nil {
			return s, err
		}
	}
	if err := refuseIdentity(r.cfg.Slot, *record, s.system, s.lineage); err != nil {
		return s, err
	}
	if err := r.refuseTakenOut(ctx, s, record); err != nil {
		return s, err
	}
	s.position, s.proofs, s.counted = record.position, record.proofs, record.Messages
	if s.messages, err = r.withMessages(ctx, s); err != nil {
		return s, err
	}
	if r.cfg.TakeOverTopics && record.takeOver > s.position.Resume && !r.recalled {
		if _, err := r.recall(ctx, s, s.position); err != nil {
			return s, err
		}
	}
	if s.slotAt > record.position.Resume {
		return s, r.refuseAhead(ctx, s, record)
	}
	return s, r.refuseChanged(ctx, s, record)
}

// withMessages tells whether the stream has logical messages. They are counted in the
// places of a transaction's changes like rows, so that turning them on or off gives rows
// other places. A transaction that is half sent then comes again from its beginning. Rows
// that are parked are found again by their places alone, so while some are still to come
// it stays as it was.
func (r *Relay) withMessages(ctx context.Context, s start) (bool, error) {
	wanted := r.cfg.wantsMessages()
	if s.counted == wanted {
		return wanted, nil
	}
	parked, err := r.remembered().parkedAhead(ctx, s.position, s.lineage)
	if err != nil {
		return false, err
	}
	if wanted && len(parked) > 0 {
		return false, refuse("Start without messages once more, until the position has passed those rows.",
			"messages are on now, and %d rows were parked at or after the stored position %s without them: they could not be told from others", len(parked), s.position.Resume)
	}
	return wanted || len(parked) > 0, nil
}

// check asks the server. Of the publication's tables the signal table is told of apart:
// its rows are no events, so none of them can be lost or be sent too late. Nor can those
// of tables that are left out.
func (r *Relay) check(ctx context.Context) (server, error) {
	v, err := r.store.check(ctx)
	if i := slices.Index(v.PublicationTables, r.cfg.SignalTable); i >= 0 {
		v.PublicationTables, v.signals = slices.Delete(v.PublicationTables, i, i+1), true
	}
	v.events = r.cfg.events(v.PublicationTables)
	return v, err
}

// makeSlotTimeout bounds the wait for the transactions that are open when a slot is made.
const makeSlotTimeout = 10 * time.Minute

// makeSlot is for a first start without gapless migrate up. A row committed
// while the slot is made might come by it or might not, so the tables must be
// empty before and after.
func (r *Relay) makeSlot(ctx context.Context, tables []string) error {
	if err := r.refuseRows(ctx, tables); err != nil {
		return err
	}
	if !r.cfg.CreateSlot {
		if err := r.refuseSecond(ctx); err != nil {
			return err
		}
	}
	r.log.InfoContext(ctx, "making the slot, which waits for every transaction that is open now to end")
	making, cancel := context.WithTimeout(ctx, makeSlotTimeout)
	defer cancel()
	if _, err := r.store.pool.Exec(making, sql.RelaySlotCreate, r.cfg.Slot); err != nil {
		if errors.Is(making.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("transactions that are open hold it up (pg_stat_activity.xact_start tells them): %w", err)
		}
		return fmt.Errorf("create slot %q: %w", r.cfg.Slot, err)
	}
	if err := r.refuseRows(ctx, tables); err != nil {
		if drop := r.store.exec(ctx, sql.RelaySlotDrop, r.cfg.Slot); drop != nil {
			return errors.Join(err, fmt.Errorf("drop slot %q: %w", r.cfg.Slot, drop))
		}
		return err
	}
	r.log.InfoContext(ctx, "slot created")
	return nil
}

// refuseSecond: a name that was mistyped would make a slot beside the one that is
// meant, which would keep WAL for ever once the relay runs under the right name.
func (r *Relay) refuseSecond(ctx context.Context) error {
	others, err := r.remembered().otherSlots(ctx)
	if err != nil {
		return fmt.Errorf("look for other slots: %w", err)
	}
	if len(others) == 0 {
		return nil
	}
	return refuse("Name one of them with --slot, or make a second slot with --create-slot.",
		"slot %q does not exist, and this database has %s for publication %q", r.cfg.Slot, strings.Join(others, ", "), r.cfg.Publication)
}

func (s *store) otherSlots(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, sql.RelayOtherSlots, s.slot, s.publication)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (r *Relay) refuseRows(ctx context.Context, tables []string) error {
	for _, table := range tables {
		var empty bool
		if err := r.store.pool.QueryRow(ctx, on(sql.RelayTableEmpty, table)).Scan(&empty); err != nil {
			return fmt.Errorf("look for rows in %s: %w", table, r.store.unreadable(err, table))
		}
		if !empty {
			return refuseSQL([]string{makeSlotSQL(r.cfg.Slot), resendSQL(r.cfg.Slot)},
				"If the name is misspelt, correct --slot. Else these rows are to be sent by a new one. "+byHand,
				"slot %q does not exist, and %s already has rows that no slot has seen", r.cfg.Slot, table)
		}
	}
	return nil
}

// refuseAhead: the slot will not send what lies between the record and itself.
// An idle relay moves the slot like that, by keepalives; so does somebody who
// loses rows. The proof tells them apart.
func (r *Relay) refuseAhead(ctx context.Context, s start, record *progress) error {
	const remedy = "What the slot was moved past is in the outbox table. " + byHand
	statements := []string{resendSQL(r.cfg.Slot), followSQL(r.cfg.Slot)}
	if s.counted {
		return refuseSQL(statements, "Logical messages that the slot was moved past are in no table: their writers have to emit them again. Rows are in the outbox table. "+byHand,
			"slot %q is at %s, ahead of the stored position %s, where a relay of logical messages never moves it", r.cfg.Slot, s.slotAt, record.position.Resume)
	}
	// The publication may have been changed since the last proof; what was
	// written meanwhile is among the rows that the slot is asked for.
	var fingerprint string
	if n := len(record.proofs); n > 0 {
		fingerprint = record.proofs[n-1].Fingerprint
	}
	p, ok := newest(record.proofs, record.position.Resume, s.system.ID, s.system.Timeline, fingerprint)
	if !ok {
		return refuseSQL(statements, remedy, "slot %q is at %s, ahead of the stored position %s, and no proof covers what lies between",
			r.cfg.Slot, s.slotAt, record.position.Resume)
	}
	missing, err := r.provenRelayed(ctx, p, s.server.events)
	if err != nil {
		return err
	}
	if missing > 0 {
		return refuseSQL(statements, remedy, "slot %q is at %s, ahead of the stored position %s: %d rows were neither relayed nor will come by it",
			r.cfg.Slot, s.slotAt, record.position.Resume, missing)
	}
	return nil
}
