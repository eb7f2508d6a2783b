package relay

import (
	"context"

	"github.com/gapless/gapless/relay/core"
)

// state is what a relay must remember beyond its own life: in schema gapless (store), or
// in Kafka (kafkaState). What is only read of the server is store's alone.
//
// What the owner of a slot writes is fenced: of a relay that lost it nothing is there
// when the error is errFenced. Everything may be written twice, because an answer may be
// lost.
type state interface {
	positions
	parking
	wishes

	// otherSlots are those that a mistyped name of a slot may have meant.
	otherSlots(ctx context.Context) ([]string, error)
	// advise changes what a person is told to do, where that depends on the place.
	advise(r *Refusal) *Refusal
	close()
}

// positions are how far a slot is.
type positions interface {
	// load returns nil when there is no record.
	load(ctx context.Context) (*progress, error)
	// create is for a first record, which take must find.
	create(ctx context.Context, system string, timeline int32, at core.Position, messages bool, takeOver core.LSN) error
	// take fences earlier owners and returns the position that is final by it.
	take(ctx context.Context, id, system string, timeline int32) (core.Position, int64, error)
	// recount stores that logical messages are counted from now on, or are not, and returns
	// the position with which that holds: a transaction that is half sent begins again.
	recount(ctx context.Context, incarnation int64, at core.Position, messages bool) (core.Position, error)
	save(ctx context.Context, v save) error
}

// parking is what the sink did not take.
type parking interface {
	park(ctx context.Context, incarnation int64, rows []*parked) error
	// adopt asks for rows that wait for one which is not there any more.
	adopt(ctx context.Context, incarnation int64) error
	parkedKeys(ctx context.Context) (map[string]struct{}, error)
	parkedAhead(ctx context.Context, from core.Position, on lineage) ([]core.Point, error)
	parkedCount(ctx context.Context) (int64, error)

	// redrivable returns the open requests, and the next rows that may go out for them.
	redrivable(ctx context.Context, incarnation int64) ([]int64, []*parkedRow, error)
	// settle stores what became of rows.
	settle(ctx context.Context, incarnation int64, sent []*parkedRow, failed []failure) error
	// finishRequests closes the requests and tells which keys they concerned, and whether
	// rows of them still wait.
	finishRequests(ctx context.Context, incarnation int64, requests []int64) (map[string]bool, error)
}

// wishes are what others want of the relay, and what it tells them.
type wishes interface {
	control(ctx context.Context) (wish, error)
	// signal executes a pause or a resume that has come by the log, unless it, or a later
	// one, was executed before.
	signal(ctx context.Context, incarnation int64, system string, v *signal) error
	tell(ctx context.Context, t told) error
}

// remembered is the state once its place is chosen; nil before.
func (r *Relay) remembered() state {
	if s := r.state.Load(); s != nil {
		return *s
	}
	return nil
}

func (r *Relay) remember(s state) { r.state.Store(&s) }
