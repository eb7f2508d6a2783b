// Package combine lets calls that are made at the same time share one trip to
// the database, as commits share one flush of the log.
//
// A call that finds no trip under way goes at once, alone; those that come while
// one is under way go together with the next. So nobody waits for company, and
// under load the trips get longer, not more.
//
// # What it does not do
//
// It does not try again and does not know what a request means: [Func] answers
// each request of a trip. It has a goroutine only while somebody waits.
package combine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Answer to one request.
type Answer[A any] struct {
	Value A
	Err   error
}

// Func makes one trip. It returns an answer for each request, in their order.
// ctx ends when nobody waits for an answer of the trip any more.
type Func[R, A any] func(ctx context.Context, requests []R) []Answer[A]

// Combiner shares trips. Use [New].
type Combiner[R, A any] struct {
	trip   Func[R, A]
	most   int
	places int

	mu      sync.Mutex
	waiting []*call[R, A]
	trips   int
}

type call[R, A any] struct {
	ctx     context.Context
	request R
	answer  Answer[A]
	done    chan struct{}
}

// New returns a Combiner that makes at most places trips at once, each for at
// most most requests.
func New[R, A any](places, most int, trip Func[R, A]) *Combiner[R, A] {
	return &Combiner[R, A]{trip: trip, places: places, most: most}
}

// Do returns the answer to r. When ctx ends first its outcome is unknown: the
// request may be under way.
func (c *Combiner[R, A]) Do(ctx context.Context, r R) (A, error) {
	one := &call[R, A]{ctx: ctx, request: r, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, one)
	isDriver := c.trips < c.places
	if isDriver {
		c.trips++
	}
	c.mu.Unlock()
	if isDriver {
		go c.drive()
	}
	select {
	case <-one.done:
		return one.answer.Value, one.answer.Err
	case <-ctx.Done():
		var none A
		return none, context.Cause(ctx)
	}
}

// drive makes trips until nobody waits.
func (c *Combiner[R, A]) drive() {
	for {
		c.mu.Lock()
		n := min(len(c.waiting), c.most)
		if n == 0 {
			c.trips--
			c.mu.Unlock()
			return
		}
		calls := c.waiting[:n:n]
		c.waiting = c.waiting[n:]
		c.mu.Unlock()
		c.one(calls)
	}
}

func (c *Combiner[R, A]) one(calls []*call[R, A]) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(calls[0].ctx))
	defer cancel()
	var left atomic.Int64
	left.Store(int64(len(calls)))
	requests := make([]R, len(calls))
	for i, one := range calls {
		requests[i] = one.request
		defer context.AfterFunc(one.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})()
	}
	answers := c.trip(ctx, requests)
	if len(answers) != len(requests) {
		panic(fmt.Sprintf("combine: %d answers to %d requests", len(answers), len(requests)))
	}
	for i, a := range answers {
		calls[i].answer = a
		close(calls[i].done)
	}
}
