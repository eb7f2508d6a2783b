package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/kafkastate"
)

// maxEntries bounds one transaction of marks.
const maxEntries = 2000

// errFull keeps the stream from putting aside more than memory holds: it holds until an
// operator has had rows redriven or discarded.
var errFull = errors.New("rows are parked or wait behind them, and no more are taken: see 'gapless relay redrive' and 'discard'")

func (k *kafkaState) park(ctx context.Context, incarnation int64, rows []*parked) error {
	limit := k.log.MaxBytes()
	var entries []kafkastate.Entry
	for _, p := range rows {
		row, err := rowOf(p)
		if err != nil {
			return fmt.Errorf("park row: %w", err)
		}
		e, err := kafkastate.RowEntry(k.slot, placeOfRow(k.system, p.record.Position.Timeline, p.record.Position.Commit, p.record.Position.Index), row, limit)
		if err != nil {
			return fmt.Errorf("park row: %w", err)
		}
		entries = append(entries, e)
	}
	isFull := false
	err := k.view("park rows", func(s *kafkastate.Slot) {
		entries = s.Unknown(entries)
		isFull = s.Open()+len(entries) > k.maxParked
	})
	switch {
	case err != nil || len(entries) == 0:
		return err
	case isFull:
		return fmt.Errorf("%d %w", k.maxParked, errFull)
	}
	return k.write(ctx, "park rows", incarnation, entries...)
}

func placeOfRow(system string, timeline int32, commit core.LSN, index int64) kafkastate.Place {
	return kafkastate.Place{System: system, Timeline: timeline, Commit: uint64(commit), Index: index}
}

func rowOf(p *parked) (kafkastate.Row, error) {
	r := p.record
	headers, err := headersJSON(r.Headers)
	if err != nil {
		return kafkastate.Row{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return kafkastate.Row{}, err
	}
	fault := p.why()
	row := kafkastate.Row{
		ID: id, EventID: r.EventID, Table: p.table, RowKey: rowKey(r.Key), Topic: r.Topic, Partition: r.Partition,
		Key: r.Key, Value: r.Value, Headers: headers, Timestamp: microsOf(r.Timestamp), Committed: microsOf(r.CommitTime), Source: p.source,
		Blocks: p.blockedBy != "", Status: p.status, Reason: fault.Reason, Error: fault.Detail, ParkedAt: time.Now().UTC(),
	}
	return row, nil
}

// microsOf is nil for no time.
func microsOf(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := t.UnixMicro()
	return &us
}

func timeOf(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := time.UnixMicro(*us).UTC()
	return &t
}

func (k *kafkaState) adopt(ctx context.Context, incarnation int64) error {
	var entries []kafkastate.Entry
	err := k.view("look for rows that wait for none", func(s *kafkastate.Slot) {
		if heads := s.Orphans(); len(heads) > 0 {
			entries = s.Adopt(heads, time.Now().UTC())
		}
	})
	return k.inParts(ctx, "adopt rows", incarnation, entries, err)
}

// inParts writes entries of which any first part may stand alone.
func (k *kafkaState) inParts(ctx context.Context, what string, incarnation int64, entries []kafkastate.Entry, err error) error {
	for err == nil && len(entries) > 0 {
		n := min(len(entries), maxEntries)
		err = k.write(ctx, what, incarnation, entries[:n]...)
		entries = entries[n:]
	}
	return err
}

func (k *kafkaState) parkedKeys(context.Context) (keys map[string]struct{}, err error) {
	err = k.view("load parked keys", func(s *kafkastate.Slot) { keys = s.Blocked() })
	return keys, err
}

func (k *kafkaState) parkedAhead(_ context.Context, from core.Position, on lineage) (points []core.Point, err error) {
	var places []kafkastate.Place
	err = k.view("load places of parked rows", func(s *kafkastate.Slot) { places = s.Ahead(uint64(from.Resume)) })
	if err != nil {
		return nil, err
	}
	if points, err = on.has(places); err != nil {
		return nil, fmt.Errorf("load places of parked rows: %w", err)
	}
	return points, nil
}

// has leaves out what was parked on another server, and on a timeline after the server had
// left it: the server's rows at these places are others.
func (on lineage) has(places []kafkastate.Place) (points []core.Point, err error) {
	for _, at := range places {
		commit := core.LSN(at.Commit)
		if at.System != on.system {
			continue
		}
		if at.Timeline != on.timeline {
			if on.unknown != nil {
				return nil, on.unknown
			}
			if commit >= on.left[at.Timeline] { // 0 where it does not come from that one
				continue
			}
		}
		points = append(points, core.Point{Commit: commit, Index: at.Index})
	}
	return points, nil
}

func (k *kafkaState) parkedCount(context.Context) (n int64, err error) {
	err = k.view("count parked rows", func(s *kafkastate.Slot) { n = int64(s.Open()) })
	return n, err
}

func (k *kafkaState) redrivable(ctx context.Context, incarnation int64) ([]int64, []*parkedRow, error) {
	var requests []int64
	if err := k.view("read requests", func(s *kafkastate.Slot) { requests = s.Unfinished() }); err != nil || len(requests) == 0 {
		return nil, nil, err
	}
	for _, id := range requests { // one after the other: each takes what those before it left
		if err := k.accept(ctx, incarnation, id); err != nil {
			return nil, nil, err
		}
	}
	var held []*kafkastate.Held
	if err := k.view("read parked rows", func(s *kafkastate.Slot) { held = s.Next(requests, redriveRows, redriveBytes) }); err != nil {
		return nil, nil, err
	}
	reading, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	bytes, err := k.log.Fetch(reading, held)
	if err != nil {
		return nil, nil, judged("read parked rows", err)
	}
	rows := make([]*parkedRow, len(held))
	for i, h := range held {
		if rows[i], err = parkedRowOf(h, bytes[h.At]); err != nil {
			return nil, nil, fmt.Errorf("read parked row %s: %w", h.At, err)
		}
	}
	return requests, rows, nil
}

// accept marks the rows that a request chose.
func (k *kafkaState) accept(ctx context.Context, incarnation, id int64) error {
	var entries []kafkastate.Entry
	err := k.view("accept request", func(s *kafkastate.Slot) {
		if r := s.Requests[id]; r != nil && !r.Accepted {
			entries = s.Accept(id)
		}
	})
	return k.inParts(ctx, "accept request", incarnation, entries, err)
}

func parkedRowOf(h *kafkastate.Held, r kafkastate.Row) (*parkedRow, error) {
	p := &parkedRow{
		ID: r.ID, EventID: r.EventID, Relation: r.Table, RowKey: r.RowKey, Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers,
		Partition: r.Partition, System: h.At.System, Timeline: h.At.Timeline, Commit: core.LSN(h.At.Commit).String(), Index: h.At.Index,
		SourceJSON: r.Source, Status: h.Mark.Status, Blocks: r.Blocks,
	}
	p.Timestamp, p.Committed = timeOf(r.Timestamp), timeOf(r.Committed)
	return p, p.parse()
}

func (k *kafkaState) settle(ctx context.Context, incarnation int64, sent []*parkedRow, failed []failure) error {
	var places []kafkastate.Place
	for _, p := range sent {
		places = append(places, placeOfRow(p.System, p.Timeline, p.commit, p.Index))
	}
	var failures []kafkastate.Failure
	for _, f := range failed {
		failures = append(failures, kafkastate.Failure{
			At: placeOfRow(f.row.System, f.row.Timeline, f.row.commit, f.row.Index), Reason: f.fault.Reason, Error: f.fault.Detail,
		})
	}
	var entries []kafkastate.Entry
	err := k.view("settle parked rows", func(s *kafkastate.Slot) { entries = s.Settle(places, failures) })
	if err != nil || len(entries) == 0 {
		return err
	}
	return k.write(ctx, "settle parked rows", incarnation, entries...)
}

func (k *kafkaState) finishRequests(ctx context.Context, incarnation int64, requests []int64) (keys map[string]bool, err error) {
	var entries []kafkastate.Entry
	err = k.view("finish requests", func(s *kafkastate.Slot) { entries, keys = s.Finish(requests, time.Now().UTC()) })
	if err != nil {
		return nil, err
	}
	return keys, k.write(ctx, "finish requests", incarnation, entries...)
}
