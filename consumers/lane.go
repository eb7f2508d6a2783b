package consumers

import (
	"context"
	"errors"
	"sync"
	"time"
)

// lane settles the messages of one partition, or of one Inbox, in order. It
// holds the policy: what is tried again, how, how long, and what is parked.
// One goroutine uses it.
type lane struct {
	engine *engine
	// commit applies items in one transaction; a group commits several lanes'
	// items together.
	commit func(ctx context.Context, items []*item) error
	// alone is commit for this lane's items by themselves.
	alone func(ctx context.Context, items []*item) error
	// stop is closed when the partition is being given up. A pause ends at once
	// and a transaction that runs is the last one.
	stop <-chan struct{}
	// behind is how many messages wait while one is being tried.
	behind func() int
	// settled is called after each group of items that has outcomes. It returns the
	// offset up to which all have.
	settled func(items []*item) int64
	// state says what the lane waits for; "" is nothing.
	state func(state string, err error)

	// patience is how long a batch waits for the slowest of its Prepares before it
	// goes without that message. Zero is however long.
	patience time.Duration
	// prepared is called when a Prepare is over, from its goroutine.
	prepared func()
	calls    sync.WaitGroup // of Prepare

	// suspects is how many new messages are still tried with each attempt recorded
	// first, because the process that worked on them died.
	suspects int
	// tried is the last offset of a partition that has a row in inbox_attempt.
	tried map[partitionID]int64
}

type partitionID struct {
	topic     string
	partition int32
}

// States of a partition.
const (
	StateRunning  = "running"
	StateRetrying = "retrying" // a message failed and is tried again
	StateHeld     = "held"     // a dependency is down: see [Unavailable]
	StateDatabase = "database" // the database is away, refuses transactions, or lacks a table, column or grant
)

// settle brings the items to outcomes, in order within each key. It returns those
// that it left, because a Prepare takes longer than the lane's patience: they are
// to be given again, in their order, before what comes after them. It returns
// early only with errStopping or ctx's error; settled has then been called for
// what is done.
func (l *lane) settle(ctx context.Context, items []*item) ([]*item, error) {
	late := newLateness()
	for len(items) > 0 {
		n := untilPoison(items, l.engine.config.BatchSize)
		var err error
		switch {
		case n == 0 && late.holds(items[0]):
			n = 1
			late.add(items[0]) // or its block would go before what it blocks
		case n == 0:
			n = 1
			err = l.parkNow(ctx, items[0])
		case l.suspects > 0:
			err = l.suspect(ctx, items[:n], late)
		default:
			err = l.batch(ctx, items[:n], late, false)
		}
		if err != nil {
			return late.items, err
		}
		items = items[n:]
	}
	return late.items, nil
}

// untilPoison is how many items, at most limit, come before one that is parked
// without being tried.
func untilPoison(items []*item, limit int) int {
	n := min(len(items), limit)
	for i, it := range items[:n] {
		if it.poison != "" {
			return i
		}
	}
	return n
}

// batch tries the items together and, if that fails, one by one. Those that are
// late it leaves. Where they are on trial, each try has a place in the process's
// trials, and a pause has none.
func (l *lane) batch(ctx context.Context, items []*item, late *lateness, onTrial bool) error {
	commit, before := l.commit, late.clone()
	for n := 1; ; n++ {
		// Each try finds out anew what is late: an item that was ready must not find
		// itself behind one that comes after it.
		*late = *before.clone()
		leave := func() {}
		if onTrial {
			var err error
			if leave, err = l.engine.trials.enter(ctx, l.stop, false); err != nil {
				return err
			}
		}
		ready, err := l.prepare(ctx, items, late)
		if err == nil && len(ready) > 0 {
			err = commit(ctx, ready)
		}
		leave()
		switch {
		case err == nil:
			l.done(ctx, ready)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errWentBack):
			return err
		case errors.Is(err, errTogether):
			commit = l.alone // another lane's message may be at fault
		case judge(err) != again, n > triesTogether && isStatements(err):
			// The latter may be one message's doing, such as a statement that is always
			// too slow: what comes before it should not wait with it.
			l.engine.metrics.retry("singly")
			return l.singles(ctx, ready, onTrial)
		default:
			if err := l.waitAgain(ctx, n, err); err != nil {
				return err
			}
		}
	}
}

func (l *lane) singles(ctx context.Context, items []*item, onTrial bool) error {
	for _, it := range items {
		if err := l.single(ctx, it, onTrial); err != nil {
			return err
		}
	}
	return nil
}

// suspect works on what a dead process left behind. Everything that it had
// committed is found in the inbox and costs no try, so its last batch, the one
// that may have killed it, is among the first BatchSize new messages.
//
// They are tried together once, each try recorded first. Only where that ended
// another process is one of them at fault more likely than the machine, and then
// they are tried one by one: nearly all deaths have nothing to do with a message,
// and after one of those a backlog waits.
func (l *lane) suspect(ctx context.Context, items []*item, late *lateness) error {
	var pending map[*item]struct{}
	err := l.insist(ctx, func() (err error) {
		pending, err = l.engine.pendingOf(ctx, items)
		return err
	})
	if err != nil {
		return err
	}
	if err := l.count(ctx, pending); err != nil {
		return err
	}
	for len(items) > 0 {
		n := 0
		var fresh []*item // whose try is not recorded yet
		for n < len(items) {
			it := items[n]
			if _, isPending := pending[it]; isPending {
				if l.isTriedSingly(it) {
					break
				}
				if !it.isRecorded {
					fresh = append(fresh, it)
				}
			}
			n++
		}
		switch it := items[0]; {
		case n > 0:
			err = l.together(ctx, items[:n], fresh, late)
		case late.holds(it):
			n = 1
			late.add(it)
		default:
			n = 1
			err = l.single(ctx, it, true)
			l.suspects = max(0, l.suspects-1)
		}
		if err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// count reads the deaths of the items that this process has not looked at yet.
func (l *lane) count(ctx context.Context, pending map[*item]struct{}) error {
	unknown := make([]*item, 0, len(pending))
	for it := range pending {
		if !it.isRecorded {
			unknown = append(unknown, it)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return l.insist(ctx, func() error { return l.engine.readDeaths(ctx, unknown) })
}

// together tries suspects in one batch. Those that are fresh are recorded first.
func (l *lane) together(ctx context.Context, items, fresh []*item, late *lateness) error {
	if len(fresh) > 0 {
		if _, err := l.record(ctx, fresh, 1, nil); err != nil {
			return err
		}
		for _, it := range fresh {
			it.isRecorded = true
		}
		l.suspects = max(0, l.suspects-len(fresh))
	}
	return l.batch(ctx, items, late, true)
}

// single tries one message until it is settled. On trial each try is counted before
// it begins, so that one which kills the process counts too.
func (l *lane) single(ctx context.Context, it *item, onTrial bool) error {
	c := l.engine.config
	start := time.Now()
	var history attempts
	for pauses, tries := 1, 1; ; pauses++ {
		leave := func() {}
		if onTrial {
			var err error
			if leave, err = l.engine.trials.enter(ctx, l.stop, l.isDoubted(it)); err != nil {
				return err
			}
		}
		err := l.try(ctx, it, onTrial && !it.isRecorded, &history)
		leave()
		switch {
		case err == nil:
			l.done(ctx, []*item{it})
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errStopping), errors.Is(err, errWentBack):
			return err
		case errors.Is(err, errDied):
			history.count = c.MaxAttempts
			return l.park(ctx, it, ReasonDied, errDied, history)
		}
		switch judge(err) {
		case again:
			err = l.waitAgain(ctx, pauses, err)
		case hold:
			l.engine.metrics.retry("held")
			log := l.engine.log.With("topic", it.Topic, "partition", it.Partition, "offset", it.Offset, "error", public(err))
			state := StateHeld
			if IsUnavailable(err) {
				log.Warn("dependency is down, partition waits")
			} else {
				state = StateDatabase
				log.Warn("schema or grants do not fit the handler, partition waits")
			}
			err = l.rest(ctx, state, err, backoff(holdBase, holdLimit, pauses))
		default:
			l.engine.metrics.failed(it)
			it.preparation = nil
			count := 1
			if it.isRecorded {
				count = 0
			}
			cause := err
			if history, err = l.record(ctx, []*item{it}, count, cause); err != nil {
				return err
			}
			it.isRecorded = false
			if IsPoison(cause) || history.count >= c.MaxAttempts || l.isOverdue(time.Since(start), tries) {
				return l.park(ctx, it, reasonOf(cause), cause, history)
			}
			l.engine.metrics.retry("failed")
			l.engine.log.Warn("message failed, will be tried again", "event_id", it.ID, "type", it.Type, "topic", it.Topic,
				"partition", it.Partition, "offset", it.Offset, "attempts", history.count)
			wait := backoff(c.RetryBackoff, retryLimit, tries)
			if c.RetryFor > 0 {
				wait = min(wait, c.RetryFor-time.Since(start))
			}
			err = l.rest(ctx, StateRetrying, cause, wait)
			tries++
		}
		if err != nil {
			return err
		}
	}
}

// isOverdue tells whether a message that failed has held up its partition for
// too long. After an outage the queue is full from the start, so what waits
// counts only once the pauses have had a chance.
func (l *lane) isOverdue(since time.Duration, tries int) bool {
	c := l.engine.config
	return c.RetryFor > 0 && since >= c.RetryFor ||
		c.RetryMessages > 0 && tries >= triesAtLeast && l.behind() >= c.RetryMessages
}

var errDied = errors.New("the process died at each try")

// isTriedSingly tells whether a suspect has to be tried one by one: after a death
// that it was on trial at, or where so few attempts are allowed that none is left
// for finding the one among many.
func (l *lane) isTriedSingly(it *item) bool {
	return it.deaths > 0 || l.engine.config.MaxAttempts <= inCompany
}

// isDoubted tells whether the item has to be tried while nothing else is.
func (l *lane) isDoubted(it *item) bool {
	return it.deaths >= max(1, min(inCompany, l.engine.config.MaxAttempts-1))
}

// try tries the item once. With recordFirst the try is counted before it begins,
// and is not made if it would be one too many.
func (l *lane) try(ctx context.Context, it *item, recordFirst bool, history *attempts) (err error) {
	if recordFirst {
		if *history, err = l.record(ctx, []*item{it}, 1, nil); err != nil {
			return err
		}
		it.isRecorded = true
		if history.count > l.engine.config.MaxAttempts {
			return errDied
		}
	}
	if l.isStopping() {
		return errStopping
	}
	if err := l.prepareAlone(ctx, it); err != nil {
		return err
	}
	return l.alone(ctx, []*item{it})
}

// record counts tries, however long the database is away.
func (l *lane) record(ctx context.Context, items []*item, n int, cause error) (a attempts, err error) {
	for _, it := range items {
		id := partitionID{it.Topic, it.Partition}
		l.tried[id] = max(l.tried[id], it.Offset)
	}
	err = l.insist(ctx, func() (err error) {
		a, err = l.engine.recordAttempts(ctx, items, n, cause)
		return err
	})
	return a, err
}

// park ends the item as a dead letter.
func (l *lane) park(ctx context.Context, it *item, reason string, cause error, a attempts) error {
	err := l.insist(ctx, func() error { return l.engine.park(ctx, it, reason, cause, a) })
	if err != nil {
		return err
	}
	l.settled([]*item{it})
	return nil
}

// parkNow parks an item that no handler ever sees, or puts it behind its key if
// that is blocked: what comes later in a key's order must not be told first.
func (l *lane) parkNow(ctx context.Context, it *item) error {
	var pending map[*item]struct{}
	err := l.insist(ctx, func() (err error) {
		pending, err = l.engine.pendingOf(ctx, []*item{it})
		return err
	})
	if err != nil {
		return err
	}
	if len(pending) == 0 {
		return l.batch(ctx, []*item{it}, newLateness(), false) // claims it as a duplicate, or as waiting
	}
	return l.park(ctx, it, it.poison, errors.New("the record does not say what it is"), attempts{count: 1})
}

// done reports settled items and forgets their attempts.
func (l *lane) done(ctx context.Context, items []*item) {
	if len(items) == 0 {
		return
	}
	l.state(StateRunning, nil)
	through := l.settled(items)
	id := partitionID{items[0].Topic, items[0].Partition}
	if offset, ok := l.tried[id]; ok && through >= offset {
		// Left behind, a row only waits for the partition's next owner.
		if err := l.engine.clearAttempts(ctx, id.topic, id.partition, through); err != nil {
			l.engine.log.Debug("attempts not cleared", "error", err)
		} else {
			delete(l.tried, id)
		}
	}
}

// insist calls do until it returns nil or the lane ends. Every error is the
// database's here: there is no message that could be at fault.
func (l *lane) insist(ctx context.Context, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := l.waitAgain(ctx, n, &ownError{err}); err != nil {
			return err
		}
	}
}

// waitAgain pauses before the same transaction is tried again.
func (l *lane) waitAgain(ctx context.Context, n int, cause error) error {
	l.engine.metrics.retry("again")
	level := l.engine.log.Debug
	if n > 3 { // a deadlock is over by then; this is a database that is away
		level = l.engine.log.Warn
	}
	level("transaction will be tried again", "try", n, "error", public(cause))
	return l.rest(ctx, StateDatabase, cause, backoff(againBase, againLimit, n))
}

func (l *lane) rest(ctx context.Context, state string, cause error, d time.Duration) error {
	if l.isStopping() {
		return errStopping
	}
	l.state(state, public(cause))
	return l.pause(ctx, d)
}

func (l *lane) isStopping() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}
