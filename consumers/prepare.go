package consumers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/sql"
)

// pendingOf returns the items that probably still need a handler: not claimed,
// not ignored, their keys not blocked. It is a hint; the claim decides.
func (e *engine) pendingOf(ctx context.Context, items []*item) ([]*item, error) {
	seen := map[uuid.UUID]struct{}{}
	blocked := map[keyOf]struct{}{}
	ids := make([]pgtype.UUID, len(items))
	for i, it := range items {
		ids[i] = id(it.ID)
	}
	var batch pgx.Batch
	batch.Queue(sql.InboxSeen, e.consumer.Name, e.generation, ids).Query(func(rows pgx.Rows) error {
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
	var pending []*item
	for _, it := range items {
		_, isSeen := seen[it.ID]
		_, isBlocked := blocked[it.blockKey()]
		if !isSeen && !it.ignored && (!isBlocked || it.Key == nil) {
			pending = append(pending, it)
			seen[it.ID] = struct{}{}
		}
	}
	return pending, nil
}

// send runs a batch outside the inbox transaction, as one of its own.
func (e *engine) send(ctx context.Context, batch *pgx.Batch) error {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return &lostError{fmt.Errorf("connect: %w", err)}
	}
	defer conn.Release()
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		if conn.Conn().IsClosed() {
			return &lostError{err}
		}
		return err
	}
	return nil
}

// prepare calls Prepare for the items that need it, several at once. No
// connection is held meanwhile. It returns the first error by offset; the
// results of those that succeeded are kept.
func (e *engine) prepare(ctx context.Context, items []*item) error {
	var wg sync.WaitGroup
	errs := make([]error, len(items))
	for i, it := range items {
		if it.isPrepared {
			continue
		}
		select {
		case e.prepareSem <- struct{}{}:
		case <-ctx.Done():
			wg.Wait()
			return ctx.Err()
		}
		wg.Go(func() {
			defer func() { <-e.prepareSem }()
			errs[i] = e.prepareOne(ctx, it)
		})
	}
	wg.Wait()
	return firstOf(errs)
}

// firstOf returns the first error. A dependency that is down does not stand
// back behind another message's failure: each is found again singly.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) prepareOne(ctx context.Context, it *item) (err error) {
	defer e.recovered(&err, "prepare")
	prepared, err := e.consumer.Prepare(ctx, it.Message)
	if err != nil {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		return fmt.Errorf("prepare %s: %w", it.ID, err)
	}
	it.prepared, it.isPrepared = prepared, true
	return nil
}
