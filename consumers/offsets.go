package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

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

	mu       sync.Mutex
	timeline int32
	stored   map[partitionID]int64 // as it is in the database; -1: no row
}

// errWentBack says that the database is not the one in which the offsets were
// settled.
var errWentBack = errors.New("the database has gone back to an earlier state, or another member has this partition")

func newOffsets(e *engine) *offsets { return &offsets{engine: e, stored: make(map[partitionID]int64)} }

// load reads what the database has of the partitions.
func (o *offsets) load(ctx context.Context, list []partitionID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var batch pgx.Batch
	o.queueLoad(&batch, list, func(id partitionID, timeline int32, next int64) {
		o.timeline, o.stored[id] = timeline, next
	})
	if err := o.engine.send(ctx, &batch); err != nil {
		return fmt.Errorf("load offsets: %w", err)
	}
	return nil
}

// save stores how far partitions are settled, and looks whether the database
// still has what was stored before. A partition that was not loaded, or of which
// nothing is known yet, it leaves.
func (o *offsets) save(ctx context.Context, next map[partitionID]int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
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

// begin is where a partition begins, Kafka's committed offset being at.
func (o *offsets) begin(id partitionID, at kgo.Offset) kgo.Offset {
	committed := at.EpochOffset().Offset
	if committed < 0 {
		return at // none: from the start
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch stored := o.stored[id]; {
	case stored < 0:
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
