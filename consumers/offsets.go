package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/sql"
)

// offsets of a group, kept in the database beside the claims. Kafka's committed
// offset is ahead of a database that has gone back: a standby was promoted
// without the last transactions, or a backup was restored. What lies between has
// lost its effects and must come again, so a partition begins at the lesser of
// the two.
//
// They are stored after what they speak of is committed, about once a second: a
// database that keeps the offset keeps the effects. And only into the database
// that has those effects: see inbox_offset_save.sql.
type offsets struct {
	engine *engine

	turn     chan struct{}         // of capacity 1: held by who reads or writes what is below, and the database
	timeline int32                 // 0: nothing was loaded yet
	stored   map[partitionID]int64 // as it is in the database; -1: no row
}

// errWentBack says that the database is not the one in which the offsets were
// settled.
var errWentBack = errors.New("the database has gone back to an earlier state, or another member has this partition")

func newOffsets(e *engine) *offsets {
	return &offsets{engine: e, turn: make(chan struct{}, 1), stored: make(map[partitionID]int64)}
}

// enter waits for the turn, and bounds what is done in it: a database that does
// not answer must not hold up a rebalance.
func (o *offsets) enter(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithTimeoutCause(ctx, offsetsTimeout, errors.New("the database does not answer"))
	select {
	case o.turn <- struct{}{}:
		return ctx, func() { <-o.turn; cancel() }, nil
	case <-ctx.Done():
		defer cancel()
		return nil, nil, fmt.Errorf("wait for the offsets: %w", context.Cause(ctx))
	}
}

const offsetsTimeout = 5 * time.Second

// load returns what the database has of the partitions. On another timeline than
// what was loaded before, it is refused: the partitions of before have to go back.
func (o *offsets) load(ctx context.Context, list []partitionID) (map[partitionID]int64, error) {
	ctx, leave, err := o.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	found, current := make(map[partitionID]int64, len(list)), o.timeline
	var batch pgx.Batch
	o.queueLoad(&batch, list, func(id partitionID, timeline int32, next int64) {
		current, found[id] = timeline, next
	})
	if err := o.engine.send(ctx, &batch); err != nil {
		return nil, fmt.Errorf("load offsets: %w", err)
	}
	if o.timeline != 0 && current != o.timeline {
		return nil, errWentBack
	}
	o.timeline = current
	o.engine.timeline.Store(current)
	maps.Copy(o.stored, found)
	return found, nil
}

// forget leaves partitions to others. One that comes back is loaded again.
func (o *offsets) forget(ctx context.Context, list []*partition) {
	_, leave, err := o.enter(ctx)
	if err != nil {
		return // it looks later as if the database had gone back, and we join anew
	}
	defer leave()
	for _, p := range list {
		delete(o.stored, p.partitionID)
	}
}

// save stores how far partitions are settled, and looks whether the database
// still has what was stored before. A partition that was not loaded, or of which
// nothing is known yet, it leaves.
func (o *offsets) save(ctx context.Context, next map[partitionID]int64) error {
	ctx, leave, err := o.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	want := make(map[partitionID]int64, len(next))
	var all, changed []partitionID
	var expected, values []int64
	for id, n := range next {
		was, isKnown := o.stored[id]
		if !isKnown {
			continue
		}
		all, want[id] = append(all, id), was
		if n >= 0 && n != was {
			changed, expected, values = append(changed, id), append(expected, was), append(values, n)
			want[id] = n
		}
	}
	if len(all) == 0 {
		return nil
	}
	var batch pgx.Batch
	if len(changed) > 0 {
		topics, partitions := columns(changed)
		batch.Queue(sql.InboxOffsetSave, o.engine.consumer.Name, o.engine.generation, o.timeline, topics, partitions, expected, values)
	}
	isSame := true
	o.queueLoad(&batch, all, func(id partitionID, timeline int32, next int64) {
		isSame = isSame && timeline == o.timeline && next == want[id]
	})
	if err := o.engine.send(ctx, &batch); err != nil {
		return fmt.Errorf("store offsets: %w", err)
	}
	if !isSame {
		return errWentBack
	}
	maps.Copy(o.stored, want)
	return nil
}

func (o *offsets) queueLoad(batch *pgx.Batch, list []partitionID, each func(id partitionID, timeline int32, next int64)) {
	topics, partitions := columns(list)
	batch.Queue(sql.InboxOffsetLoad, o.engine.consumer.Name, o.engine.generation, topics, partitions).Query(func(rows pgx.Rows) error {
		var id partitionID
		var next int64
		var timeline int32
		_, err := pgx.ForEachRow(rows, []any{&id.topic, &id.partition, &next, &timeline}, func() error {
			each(id, timeline, next)
			return nil
		})
		return err
	})
}

// beginAt is where a partition begins, Kafka's committed offset being at and the
// database's stored.
func beginAt(at kgo.Offset, stored int64) kgo.Offset {
	committed := at.EpochOffset().Offset
	if committed < 0 {
		return at // none: from the start
	}
	switch {
	case stored < 0: // restored to a time before it was first run, perhaps
		return kgo.NewOffset().AtStart()
	case stored < committed:
		return kgo.NewOffset().At(stored)
	}
	return at
}

func columns(list []partitionID) (topics []string, partitions []int32) {
	for _, id := range list {
		topics, partitions = append(topics, id.topic), append(partitions, id.partition)
	}
	return topics, partitions
}
