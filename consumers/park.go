package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/internal/pgtext"
	"github.com/gapless/gapless/sql"
)

// maxErrorBytes bounds the error text kept with a dead letter.
const maxErrorBytes = 4 << 10

// attempts is the history of one message.
type attempts struct {
	count int
	first time.Time // of the first failure, by the database's clock; zero: none
}

// recordAttempts counts n tries (0 or 1) at each of the items, with the error they
// ended in, in a transaction of its own. A nil cause is a try whose end is not known
// yet. It returns the history of one of them.
func (e *engine) recordAttempts(ctx context.Context, items []*item, n int, cause error) (attempts, error) {
	var a attempts
	topics, partitions, offsets := places(items)
	ids := make([]pgtype.UUID, len(items))
	for i, it := range items {
		ids[i] = id(it.ID)
	}
	var batch pgx.Batch
	batch.Queue(sql.InboxAttemptRecord, e.consumer.Name, e.generation, topics, partitions, offsets, ids, n, errorText(cause)).
		QueryRow(func(row pgx.Row) error { return row.Scan(&a.count, &a.first) })
	if err := e.send(ctx, &batch); err != nil {
		return attempts{}, fmt.Errorf("record attempt: %w", err)
	}
	crashpoint.Hit("consumer.after_attempt")
	return a, nil
}

// readDeaths sets deaths of the items: what earlier processes have counted and not
// taken back.
func (e *engine) readDeaths(ctx context.Context, items []*item) error {
	topics, partitions, offsets := places(items)
	var batch pgx.Batch
	batch.Queue(sql.InboxAttemptPeek, e.consumer.Name, e.generation, topics, partitions, offsets).Query(func(rows pgx.Rows) error {
		var place int64
		var deaths int
		_, err := pgx.ForEachRow(rows, []any{&place, &deaths}, func() error {
			items[place-1].deaths = deaths
			return nil
		})
		return err
	})
	if err := e.send(ctx, &batch); err != nil {
		return fmt.Errorf("look up attempts: %w", err)
	}
	return nil
}

// places returns where the items stand, as columns.
func places(items []*item) (topics []string, partitions []int32, offsets []int64) {
	for _, it := range items {
		topics, partitions, offsets = append(topics, it.Topic), append(partitions, it.Partition), append(offsets, it.Offset)
	}
	return topics, partitions, offsets
}

// clearAttempts forgets the tries at a partition's messages up to offset.
func (e *engine) clearAttempts(ctx context.Context, topic string, partition int32, offset int64) error {
	var batch pgx.Batch
	batch.Queue(sql.InboxAttemptClear, e.consumer.Name, e.generation, topic, partition, offset)
	if err := e.send(ctx, &batch); err != nil {
		return fmt.Errorf("clear attempts: %w", err)
	}
	return nil
}

// park makes the item a dead letter and blocks its key, in one transaction.
func (e *engine) park(ctx context.Context, it *item, reason string, cause error, a attempts) error {
	crashpoint.Hit("consumer.before_park")
	var first *time.Time
	if !a.first.IsZero() {
		first = &a.first
	}
	letter := uuid.Nil
	var batch pgx.Batch
	batch.Queue(sql.InboxPark, e.consumer.Name, e.generation, id(it.ID), it.Topic, it.Partition, it.Offset,
		nullText(it.Header("gapless_position")), nullText(it.Type), stamp(it.Timestamp), it.Key, it.Value, encodeHeaders(it.Headers),
		pgtext.Clean(reason), errorText(cause), a.count, first).
		QueryRow(func(row pgx.Row) error {
			err := row.Scan(&letter)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // claimed by somebody meanwhile: nothing to park
			}
			return err
		})
	if err := e.send(ctx, &batch); err != nil {
		return fmt.Errorf("park message: %w", err)
	}
	crashpoint.Hit("consumer.after_park")
	if letter == uuid.Nil {
		it.outcome = Duplicate
	} else {
		it.outcome = Parked
		e.log.Error("message parked, its key is blocked", "dead_letter_id", letter, "event_id", it.ID, "type", it.Type,
			"topic", it.Topic, "partition", it.Partition, "offset", it.Offset, "reason", reason, "attempts", a.count)
	}
	e.metrics.parked(it, reason)
	return nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	s := err.Error()
	if len(s) > maxErrorBytes {
		s = s[:maxErrorBytes]
	}
	return pgtext.Clean(s)
}

// reasonOf names why a message is parked after its last error.
func reasonOf(err error) string {
	if p, ok := errors.AsType[*poisonError](err); ok {
		return p.reason
	}
	if _, ok := errors.AsType[*panicError](err); ok {
		return ReasonPanic
	}
	return ReasonFailed
}
