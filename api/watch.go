package api

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/sql"
)

const (
	// pollEvery is the pause between two looks at the orders waited for.
	pollEvery = 25 * time.Millisecond
	// pollAgain is the pause after a look that failed.
	pollAgain = 500 * time.Millisecond
	// pollTimeout bounds one look.
	pollTimeout = 5 * time.Second
)

// orderState is what a waiter is told. Comparable: two that are equal are the
// same news.
type orderState struct {
	status      OrderStatus
	stockStatus OrderStockStatus
	version     int64
	updatedAt   int64 // microseconds
}

// stockDecided also holds for an order that ended before its stock was.
func (s orderState) stockDecided() bool {
	return s.stockStatus != Undecided || terminal(s.status)
}

// terminal reports whether nothing more happens to an order by itself.
func terminal(status OrderStatus) bool {
	return status == Confirmed || status == Cancelled || status == NeedsAttention
}

// watcher asks for all orders that somebody waits for with one query at a time,
// and with none while nobody waits.
type watcher struct {
	db *pgxpool.Pool

	mu    sync.Mutex
	byID  map[uuid.UUID][]*watch
	awake chan struct{} // has room for one: somebody has come
}

// watch is one waiter's view. changes holds the newest state only.
type watch struct {
	changes chan orderState
	last    orderState
	stop    func()
}

func newWatcher(db *pgxpool.Pool) *watcher {
	return &watcher{db: db, byID: make(map[uuid.UUID][]*watch), awake: make(chan struct{}, 1)}
}

// watch reports the state of an order, the first within one look, until the
// returned watch is stopped.
func (w *watcher) watch(id uuid.UUID) *watch {
	one := &watch{changes: make(chan orderState, 1)}
	one.stop = sync.OnceFunc(func() { w.remove(id, one) })
	w.mu.Lock()
	w.byID[id] = append(w.byID[id], one)
	w.mu.Unlock()
	select {
	case w.awake <- struct{}{}:
	default:
	}
	return one
}

func (w *watcher) remove(id uuid.UUID, one *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := slices.DeleteFunc(w.byID[id], func(other *watch) bool { return other == one })
	if len(left) == 0 {
		delete(w.byID, id)
		return
	}
	w.byID[id] = left
}

// run looks until ctx ends. A look that fails is repeated: the waiters have
// their own deadlines.
func (w *watcher) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		ids := w.wanted()
		if len(ids) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-w.awake:
				continue
			}
		}
		pause := pollEvery
		if err := w.look(ctx, ids); err != nil {
			pause = pollAgain
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

func (w *watcher) wanted() []uuid.UUID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.byID))
}

func (w *watcher) look(ctx context.Context, ids []uuid.UUID) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	rows, err := w.db.Query(ctx, sql.CheckoutOrdersWatch, ids)
	if err != nil {
		return fmt.Errorf("watch orders: %w", err)
	}
	var id uuid.UUID
	var status, stock string
	var version int64
	var updated time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &status, &stock, &version, &updated}, func() error {
		w.tell(id, orderState{OrderStatus(status), OrderStockStatus(stock), version, updated.UnixMicro()})
		return nil
	})
	if err != nil {
		return fmt.Errorf("watch orders: %w", err)
	}
	return nil
}

func (w *watcher) tell(id uuid.UUID, state orderState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.byID[id] {
		if one.last == state {
			continue
		}
		one.last = state
		select {
		case <-one.changes: // a state that was not read is old news
		default:
		}
		one.changes <- state
	}
}
