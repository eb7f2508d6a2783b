package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/sql"
)

// preparation is a call of Prepare, under way or over.
type preparation struct {
	done  chan struct{} // closed when value and err are there
	value any
	err   error
}

func (p *preparation) isOver() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// prepared is what Prepare has made of the item, nil while it has not.
func (it *item) prepared() any {
	if it.preparation == nil || !it.preparation.isOver() {
		return nil
	}
	return it.preparation.value
}

// lateness is what a settle leaves for the next: messages whose Prepare takes
// longer than the others', and whatever comes after them in their keys.
type lateness struct {
	items []*item
	keys  map[keyOf]struct{}
	ids   map[uuid.UUID]struct{}
}

// clone is a copy to which more may be added.
func (l *lateness) clone() *lateness {
	return &lateness{items: slices.Clone(l.items), keys: maps.Clone(l.keys), ids: maps.Clone(l.ids)}
}

func newLateness() *lateness {
	return &lateness{keys: make(map[keyOf]struct{}), ids: make(map[uuid.UUID]struct{})}
}

// holds tells whether the item must wait for one that is late.
func (l *lateness) holds(it *item) bool {
	_, isKey := l.keys[it.blockKey()]
	_, isTwin := l.ids[it.ID]
	return isKey && it.Key != nil || isTwin
}

func (l *lateness) add(it *item) {
	l.items = append(l.items, it)
	l.ids[it.ID] = struct{}{}
	if it.Key != nil {
		l.keys[it.blockKey()] = struct{}{}
	}
}

// prepare calls Prepare for the items that need it, several at once, but of each
// key only for the first: the next one's call must see what this one has brought
// about. It waits until they are over, at most for the lane's patience, and
// returns those that may be committed now; the others are added to late.
//
// Its error is the first by offset of a call that failed; the item is among
// ready, and is prepared anew at the next try.
func (l *lane) prepare(ctx context.Context, items []*item, late *lateness) (ready []*item, err error) {
	if l.engine.consumer.Prepare == nil {
		return items, nil
	}
	pending, err := l.engine.pendingOf(ctx, items)
	if err != nil {
		return items, err
	}
	l.begin(ctx, items, pending, late)
	for _, it := range items {
		p := it.preparation
		_, isPending := pending[it]
		switch {
		case late.holds(it), isPending && (p == nil || !p.isOver()):
			late.add(it)
			continue
		case p != nil && p.err != nil:
			it.preparation = nil
			if err == nil {
				err = p.err
			}
		}
		ready = append(ready, it)
	}
	return ready, err
}

// begin makes the calls and waits for them.
func (l *lane) begin(ctx context.Context, items []*item, pending map[*item]struct{}, late *lateness) {
	heads := make(map[keyOf]struct{})
	var begun []*preparation
	for _, it := range items {
		if _, isPending := pending[it]; !isPending || late.holds(it) {
			continue
		}
		if _, isBehind := heads[it.blockKey()]; isBehind && it.Key != nil {
			continue
		}
		heads[it.blockKey()] = struct{}{}
		if it.preparation == nil {
			begun = append(begun, l.call(ctx, it))
		}
	}
	var patience <-chan time.Time // for ever
	if l.patience > 0 {
		timer := time.NewTimer(l.patience)
		defer timer.Stop()
		patience = timer.C
	}
	for _, p := range begun {
		select {
		case <-p.done:
		case <-patience:
			return
		case <-l.stop:
			return
		}
	}
}

// call begins Prepare of the item. It ends soon after ctx.
func (l *lane) call(ctx context.Context, it *item) *preparation {
	p := &preparation{done: make(chan struct{})}
	it.preparation = p
	l.calls.Go(func() {
		defer l.prepared()
		defer close(p.done)
		select {
		case l.engine.prepareSem <- struct{}{}:
			defer func() { <-l.engine.prepareSem }()
			p.value, p.err = l.engine.prepareOne(ctx, it)
		case <-ctx.Done():
			p.err = ctx.Err()
		}
	})
	return p
}

// prepareAlone is prepare for an item by itself, however long it takes.
func (l *lane) prepareAlone(ctx context.Context, it *item) error {
	if l.engine.consumer.Prepare == nil {
		return nil
	}
	p := it.preparation
	if p == nil {
		pending, err := l.engine.pendingOf(ctx, []*item{it})
		if err != nil || len(pending) == 0 {
			return err
		}
		p = l.call(ctx, it)
	}
	<-p.done // it ends with ctx
	if p.err != nil {
		it.preparation = nil
	}
	return p.err
}

// pendingOf returns the items that probably still need a handler: not claimed,
// not ignored, their keys not blocked. It is a hint; the claim decides. Of items
// with a preparation it is known already.
func (e *engine) pendingOf(ctx context.Context, items []*item) (map[*item]struct{}, error) {
	pending := make(map[*item]struct{}, len(items))
	seen := make(map[uuid.UUID]struct{}, len(items))
	unknown := make([]*item, 0, len(items))
	for _, it := range items {
		switch {
		case it.preparation != nil:
			pending[it], seen[it.ID] = struct{}{}, struct{}{}
		case !it.ignored:
			unknown = append(unknown, it)
		}
	}
	if len(unknown) == 0 {
		return pending, nil
	}
	blocked, err := e.lookUp(ctx, unknown, seen)
	if err != nil {
		return nil, err
	}
	for _, it := range unknown {
		_, isSeen := seen[it.ID]
		_, isBlocked := blocked[it.blockKey()]
		if !isSeen && (!isBlocked || it.Key == nil) {
			pending[it], seen[it.ID] = struct{}{}, struct{}{}
		}
	}
	return pending, nil
}

// lookUp adds the ids that are claimed to seen, and returns the keys that are
// blocked.
func (e *engine) lookUp(ctx context.Context, items []*item, seen map[uuid.UUID]struct{}) (map[keyOf]struct{}, error) {
	blocked := map[keyOf]struct{}{}
	ids := make([]pgtype.UUID, len(items))
	for i, it := range items {
		ids[i] = id(it.ID)
	}
	least, most := span(items)
	var batch pgx.Batch
	batch.Queue(sql.InboxSeen, e.consumer.Name, e.generation, ids, least, most).Query(func(rows pgx.Rows) error {
		var claimed pgtype.UUID
		_, err := pgx.ForEachRow(rows, []any{&claimed}, func() error {
			seen[claimed.Bytes] = struct{}{}
			return nil
		})
		return err
	})
	if topics, list := keys(items); len(list) > 0 {
		batch.Queue(sql.InboxBlockedPeek, e.consumer.Name, e.generation, topics, list).Query(readKeys(blocked))
	}
	if err := e.send(ctx, &batch); err != nil {
		return nil, &ownError{fmt.Errorf("look up batch: %w", err)}
	}
	return blocked, nil
}

// send runs a batch outside the inbox transaction, as one of its own.
func (e *engine) send(ctx context.Context, batch *pgx.Batch) error {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return &lostError{fmt.Errorf("connect: %w", err)}
	}
	defer conn.Release()
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		dropDemoted(ctx, conn.Conn(), err)
		if conn.Conn().IsClosed() {
			return &lostError{err}
		}
		return err
	}
	return nil
}

func (e *engine) prepareOne(ctx context.Context, it *item) (prepared any, err error) {
	defer e.recovered(&err, "prepare")
	prepared, err = e.consumer.Prepare(ctx, it.Message)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		return nil, fmt.Errorf("prepare %s: %w", it.ID, err)
	}
	return prepared, nil
}
