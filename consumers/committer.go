package consumers

import (
	"context"
	"errors"
	"time"
)

// errTogether tells a lane that a transaction failed which held other lanes'
// messages too: try alone.
var errTogether = errors.New("a transaction shared with other partitions failed")

// committer lets the partitions of a consumer share transactions: whoever is
// ready when a transaction begins goes with it. One partition's few messages
// would else cost a commit of their own, and a commit costs more than they do.
type committer struct {
	engine *engine
	ready  chan *share   // unbuffered: those who wait in a send are those who are ready
	places chan struct{} // of capacity Concurrency: of each transaction, also those of one lane
	freed  chan struct{} // of capacity 1: a place was given back
}

// share is a lane's part of a transaction.
type share struct {
	items []*item
	done  chan error // of capacity 1: an abandoned share does not block
}

func newCommitter(e *engine) *committer {
	return &committer{engine: e, ready: make(chan *share), places: make(chan struct{}, e.config.Concurrency), freed: make(chan struct{}, 1)}
}

// isFull tells whether as many transactions run as may.
func (c *committer) isFull() bool { return len(c.places) == cap(c.places) }

func (c *committer) leave() {
	<-c.places
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// commit is lane.commit: it waits for a place and for the transaction's end. An
// end of ctx leaves the outcome unknown, as a lost connection does.
func (c *committer) commit(ctx context.Context, items []*item) error {
	s := &share{items: items, done: make(chan error, 1)}
	select {
	case c.ready <- s:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-s.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run executes transactions, one at a time, until ctx ends.
func (c *committer) run(ctx context.Context) {
	for {
		select {
		case s := <-c.ready:
			c.transaction(ctx, s)
		case <-ctx.Done():
			return
		}
	}
}

// alone is lane.alone: a transaction of one lane.
func (c *committer) alone(ctx context.Context, items []*item) error {
	select {
	case c.places <- struct{}{}:
		defer c.leave()
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.engine.apply(ctx, items)
}

// patienceBeside is how long a transaction waits for company while another runs.
const patienceBeside = 5 * time.Millisecond

// next is a share that is ready now.
func (c *committer) next() (*share, bool) {
	select {
	case s := <-c.ready:
		return s, true
	default:
		return nil, false
	}
}

func (c *committer) transaction(ctx context.Context, first *share) {
	select {
	case c.places <- struct{}{}: // before the others are gathered: who waits meanwhile comes along
		defer c.leave()
	case <-ctx.Done():
		first.done <- ctx.Err()
		return
	}
	shares, items := []*share{first}, first.items
	var company *time.Timer
	for len(items) < c.engine.config.BatchSize {
		s, isThere := c.next()
		if !isThere && len(c.places) > 1 {
			// Another transaction runs meanwhile: a little patience makes this one
			// worth its commit.
			if company == nil {
				company = time.NewTimer(patienceBeside)
				defer company.Stop()
			}
			select {
			case s = <-c.ready:
				isThere = true
			case <-company.C:
			}
		}
		if !isThere {
			break
		}
		// The whole share or none: a lane's items stay together. That may make the
		// transaction twice the batch size, never more.
		shares, items = append(shares, s), append(items[:len(items):len(items)], s.items...)
	}
	err := c.engine.apply(ctx, items)
	if err != nil && len(shares) > 1 && judge(err) != again && !errors.Is(err, errWentBack) {
		err = errTogether
	}
	for _, s := range shares {
		s.done <- err
	}
}
