package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/internal/pgtext"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// redrive answers requests for parked rows (gapless.relay_request). Of each key
// concerned the rows go out in the log's order, up to the first that stays parked,
// batch after batch; rows of the key that come by the stream meanwhile queue behind
// them. The key is let go when none of its rows is left in the table, which is
// after the sink has acknowledged each of them.
//
// A row is settled in the table after its acknowledgement. A death in between
// sends it again, and only then what is behind it.
type redrive struct {
	asked   bool            // requests are open
	learned bool            // the sink has looked at what it takes, for these requests
	last    bool            // the batch may be the last: look again before more is parked
	flying  int             // records that the sink has not answered for
	sent    []*parkedRow    // acknowledged, not settled in the table
	failed  []failure       // refused, not noted in the table
	stuck   map[string]bool // keys of which no more of this batch may go out
}

type failure struct {
	row   *parkedRow
	fault *format.Fault
}

// A batch of rows is several times as large as one that is parked, so that a key is
// let go although rows of it keep coming.
const (
	redriveRows  = 8 * maxParkBatch
	redriveBytes = 2 << 20
)

// parkedRow is a row of gapless.parked that may go out.
type parkedRow struct {
	ID         uuid.UUID  `db:"id"`
	EventID    uuid.UUID  `db:"event_id"`
	Relation   string     `db:"relation"`
	RowKey     *string    `db:"row_key"`
	System     string     `db:"system_id"`
	Topic      string     `db:"topic"`
	Key        []byte     `db:"record_key"`
	Value      []byte     `db:"record_value"`
	Headers    []byte     `db:"headers"`
	Timestamp  *time.Time `db:"record_timestamp"`
	Partition  int32      `db:"record_partition"`
	Timeline   int32      `db:"timeline"`
	Commit     string     `db:"commit_lsn"`
	Index      int64      `db:"commit_index"`
	Committed  *time.Time `db:"committed_at"`
	SourceJSON []byte     `db:"source"`
	Status     string     `db:"status"`
	Blocks     bool       `db:"blocks"`

	commit     core.LSN
	source     *source
	attributes map[string]format.Attribute
}

func (p *parkedRow) key() (string, bool) {
	if p.RowKey == nil || !p.Blocks {
		return "", false
	}
	return kafkastate.BlockKey(p.Relation, *p.RowKey), true
}

func (p *parkedRow) place() format.Position {
	at := format.Position{Timeline: p.Timeline, Commit: p.commit, Index: p.Index}
	if p.Committed != nil {
		at.CommitTime = format.Micros(*p.Committed)
	}
	return at
}

// parse reads what the columns hold in a form of their own.
func (p *parkedRow) parse() (err error) {
	if p.commit, err = core.ParseLSN(p.Commit); err != nil {
		return err
	}
	if p.SourceJSON == nil {
		return nil
	}
	p.source = &source{}
	return json.Unmarshal(p.SourceJSON, p.source)
}

// record is the row's, as it was made, or made now.
func (s *session) record(p *parkedRow) (*format.Record, error) {
	r := &format.Record{}
	if p.source != nil {
		err := s.remake(p, r)
		return r, err
	}
	r.Reset(p.place())
	r.Topic, r.Key, r.Value, r.Partition, r.EventID = p.Topic, p.Key, p.Value, p.Partition, p.EventID
	if p.Timestamp != nil {
		r.Timestamp = *p.Timestamp
	}
	var buf format.Buffer
	err := format.PairHeaders(p.Headers, &buf)
	r.Headers = slices.Clip(buf.Headers)
	return r, err
}

// redriving tells whether requests are being answered.
func (s *session) redriving() bool {
	d := &s.redrive
	return d.asked && !s.paused || d.flying > 0 || len(d.sent) > 0 || len(d.failed) > 0
}

// redriveJob is what the worker does about parked rows next.
func (s *session) redriveJob() func(context.Context) {
	if d := &s.redrive; len(d.sent) > 0 || len(d.failed) > 0 {
		return s.settleRedriven()
	}
	unsure := s.unsure
	return func(ctx context.Context) { s.nextRedriven(ctx, unsure) }
}

// nextRedriven looks for rows that may go out. When there are none, the requests
// are done with; but not while rows may have been parked of which nobody knows: they would be
// let go from memory, and be in the state, too.
func (s *session) nextRedriven(ctx context.Context, unsure bool) {
	requests, rows, err := s.r.remembered().redrivable(ctx, s.incarnation)
	if err == nil {
		err = s.r.describeParked(ctx, rows)
	}
	if l, ok := s.r.cfg.Sink.(Learner); ok && err == nil && !s.redrive.learned && len(rows) > 0 {
		changed, err := l.Relearn(ctx)
		s.inbox.result(func() { s.relearned(changed, err) })
		return
	}
	var keys map[string]bool
	isLast := err == nil && len(requests) > 0 && len(rows) == 0
	if isLast && !unsure {
		keys, err = s.r.remembered().finishRequests(ctx, s.incarnation, requests)
	}
	s.inbox.result(func() {
		s.worker.busy = false
		if err != nil {
			s.failed(err)
			if isLast && s.worker.fatal == nil {
				// They may be finished, and nobody would ask again which keys are free: the
				// next stream reads it.
				s.worker.fatal = err
			}
			return
		}
		// Rows that are parked in between would keep a key that is hot for ever. Every
		// other time, since what limited the batch may be its bytes.
		s.redrive.last = len(rows) < redriveRows && !s.redrive.last
		if len(rows) > 0 {
			s.sendParked(rows)
			return
		}
		if isLast && unsure {
			s.redrive.last = false
			s.worker.again[kindRedrive] = s.now() + unsurePause
			return
		}
		s.redrive.asked, s.redrive.learned, s.redrive.last = false, false, false
		for key, isBlocked := range keys {
			if !isBlocked {
				s.letGo(key)
			}
		}
		if len(requests) > 0 {
			s.r.log.Info("requests for parked rows are done", "requests", requests)
		}
	})
}

// unsurePause is between two looks at requests that cannot be finished yet.
const unsurePause = 50 * time.Millisecond

// relearned takes the news of what the sink takes now. The rows were refused for what
// it took then.
func (s *session) relearned(changed bool, err error) {
	s.worker.busy = false
	s.redrive.learned = true
	if err != nil {
		s.r.log.Warn("look for new limits of topics", "error", err)
	}
	if changed {
		s.worker.fatal = &sinkError{err: errors.New("topics take other records than before")}
	}
}

// sendParked hands the rows to the sink.
func (s *session) sendParked(rows []*parkedRow) {
	d := &s.redrive
	if !d.asked {
		return // the stream has ended meanwhile
	}
	d.stuck = map[string]bool{}
	for _, p := range rows {
		key, isOrdered := p.key()
		if isOrdered && d.stuck[key] {
			continue
		}
		// What was refused before is proven before anything goes out behind it.
		d.stuck[key] = isOrdered && p.Status != statusWaiting
		err := s.sendAgain(p)
		var fault *format.Fault
		switch {
		case errors.As(err, &fault):
			d.failed = append(d.failed, failure{p, fault})
			d.stuck[key] = isOrdered
		case errors.Is(err, errNotYet):
			d.stuck[key] = isOrdered
		case err != nil:
			s.worker.fatal = &sinkError{err: err}
			return
		}
	}
	if d.flying == 0 && len(d.failed) == 0 && len(d.sent) == 0 {
		d.asked = false // until it is asked for again, in a second
	}
}

// errNotYet leaves a row for later.
var errNotYet = errors.New("not yet")

func (s *session) sendAgain(p *parkedRow) error {
	at := place{p.Timeline, p.commit, p.Index}
	if fault := s.r.poison[at]; fault != nil {
		delete(s.r.poison, at)
		return fault
	}
	// What was committed before it may be on its way yet, or held. The place of another
	// server's row tells nothing here.
	if p.System == s.system.ID && !s.machine.Passed(core.Point{Commit: p.commit, Index: p.Index}) {
		return errNotYet
	}
	r, err := s.record(p)
	if err != nil {
		return err
	}
	if fault := s.r.cfg.stateTopic(r.Topic); fault != nil {
		return fault
	}
	s.redrive.flying++
	err = s.r.cfg.Sink.Send(r, func(r *format.Record, err error) {
		s.inbox.result(func() { s.redriven(p, r, err) })
	})
	if err != nil {
		s.redrive.flying--
		if held, ok := errors.AsType[*HeldError](err); ok {
			s.awaitHeld(held)
			return errNotYet
		}
		return err
	}
	crashpoint.Hit("relay.after_resend")
	return nil
}

// redriven takes the sink's answer.
func (s *session) redriven(p *parkedRow, r *format.Record, err error) {
	s.redrive.flying--
	if held, ok := errors.AsType[*HeldError](err); ok {
		s.awaitHeld(held) // the row is asked for again
		return
	}
	if err != nil {
		// What was sent behind it may not have arrived: the next stream sends it again.
		s.worker.fatal = s.sinkFailed(ack{record: r, err: err})
		return
	}
	s.redrive.sent = append(s.redrive.sent, p)
}

// settleRedriven writes down what the sink said.
func (s *session) settleRedriven() func(context.Context) {
	sent, failed := s.redrive.sent, s.redrive.failed
	return func(ctx context.Context) {
		err := s.r.remembered().settle(ctx, s.incarnation, sent, failed)
		s.inbox.result(func() {
			s.worker.busy = false
			if err != nil {
				s.failed(err)
				return
			}
			s.redrive.sent, s.redrive.failed = nil, nil
			for _, p := range sent {
				s.r.metrics.topic(p.Topic).redriven.Inc()
			}
			for _, f := range failed {
				s.r.log.Error("row parked again", "id", f.row.ID, "table", f.row.Relation, "topic", f.row.Topic,
					"event_id", f.row.EventID, "reason", f.fault.Reason, "detail", f.fault.Detail)
			}
		})
	}
}

// letGo takes the key back into the stream. None of its rows is in the table, and
// those that were on their way there go out first.
func (s *session) letGo(key string) {
	delete(s.blocked, key)
	rest := s.parking[:0]
	for _, p := range s.parking {
		if p.blockedBy != key || s.blocks(key) || !s.sendWaiting(p, key) {
			rest = append(rest, p)
		}
	}
	clear(s.parking[len(rest):])
	s.parking = rest
}

func (s *session) blocks(key string) bool {
	_, ok := s.blocked[key]
	return ok
}

// sendWaiting sends a row that waits no longer, or makes it the one that the key
// waits for. It returns whether the sink has it.
func (s *session) sendWaiting(p *parked, key string) bool {
	fault := p.fault
	if fault == nil && p.source != nil {
		fault = notKept()
	}
	if fault == nil && s.worker.fatal == nil {
		err := s.r.cfg.Sink.Send(p.record, s.ackFunc)
		if err == nil {
			if s.r.cfg.Hooks.Sent != nil {
				s.r.cfg.Hooks.Sent(p.record)
			}
			return true
		}
		if held, ok := errors.AsType[*HeldError](err); ok {
			s.holdBack(p.record, held)
			return true
		}
		if !errors.As(err, &fault) {
			s.worker.fatal = &sinkError{err: err}
		}
	}
	if fault != nil {
		p.status, p.fault = statusParked, fault
	}
	s.blocked[key] = struct{}{}
	return false
}

func (s *store) redrivable(ctx context.Context, _ int64) ([]int64, []*parkedRow, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	found, err := s.pool.Query(ctx, sql.RelayRequestsOpen, s.slot)
	if err != nil {
		return nil, nil, fmt.Errorf("read requests: %w", err)
	}
	requests, err := pgx.CollectRows(found, pgx.RowTo[int64])
	if err != nil {
		return nil, nil, fmt.Errorf("read requests: %w", err)
	}
	if len(requests) == 0 {
		return nil, nil, nil
	}
	found, err = s.pool.Query(ctx, sql.RelayRedriveNext, s.slot, requests, redriveRows, redriveBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("read parked rows: %w", err)
	}
	rows, err := pgx.CollectRows(found, pgx.RowToAddrOfStructByName[parkedRow])
	if err != nil {
		return nil, nil, fmt.Errorf("read parked rows: %w", err)
	}
	for _, p := range rows {
		if err := p.parse(); err != nil {
			return nil, nil, fmt.Errorf("read parked row %s: %w", p.ID, err)
		}
	}
	return requests, rows, nil
}

// describeParked asks the catalog for the tables of rows that are to be made again.
func (r *Relay) describeParked(ctx context.Context, rows []*parkedRow) (err error) {
	known := map[uint32]map[string]format.Attribute{} // by table
	for _, p := range rows {
		if p.source == nil || p.source.OID == 0 {
			continue
		}
		attributes, ok := known[p.source.OID]
		if !ok {
			if attributes, err = r.store.attributes(ctx, p.Relation, p.source.OID); err != nil {
				return err
			}
			known[p.source.OID] = attributes
		}
		p.attributes = attributes
	}
	return nil
}

func (s *store) settle(ctx context.Context, incarnation int64, sent []*parkedRow, failed []failure) error {
	ids := make([]uuid.UUID, len(sent))
	for i, p := range sent {
		ids[i] = p.ID
	}
	return s.fenced(ctx, storeTimeout, "settle parked rows", incarnation, func(b *pgx.Batch) {
		b.Queue(sql.RelayRedriveSent, s.slot, incarnation, ids)
		for _, f := range failed {
			b.Queue(sql.RelayRedriveFailed, s.slot, incarnation, f.row.ID, f.fault.Reason, pgtext.Clean(f.fault.Detail))
		}
	})
}

func (s *store) finishRequests(ctx context.Context, incarnation int64, requests []int64) (map[string]bool, error) {
	keys := map[string]bool{}
	err := s.fenced(ctx, storeTimeout, "finish requests", incarnation, func(b *pgx.Batch) {
		b.Queue(sql.RelayRequestFinish, s.slot, incarnation, requests)
		b.Queue(sql.RelayRedriveBlocked, s.slot, requests).Query(func(rows pgx.Rows) error {
			var relation, key string
			var isBlocked bool
			_, err := pgx.ForEachRow(rows, []any{&relation, &key, &isBlocked}, func() error {
				keys[kafkastate.BlockKey(relation, key)] = isBlocked
				return nil
			})
			return err
		})
	})
	return keys, err
}
