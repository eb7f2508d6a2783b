package consumers

import "context"

// trials are the tries at messages that a process may have died at, of all
// consumers in this process.
//
// When the process dies, each message that was on trial has one death against
// it, though at most one of them did it. So a message that deaths in company
// speak against is tried alone: nothing else is on trial then, and one death
// more speaks against it alone. Else a poison would take with it, as parked,
// what was only slower than it.
type trials struct {
	turn   chan struct{} // held by the one that is tried alone, or about to be
	places chan struct{} // all of them, when alone
}

// trialsAtOnce bounds what can share the blame for a death.
const trialsAtOnce = 64

// inCompany is how many deaths may speak against a message before it is tried
// alone. One happens to every message that was under way when a machine went
// down, and they should not wait for each other.
const inCompany = 2

func newTrials() *trials {
	return &trials{turn: make(chan struct{}, 1), places: make(chan struct{}, trialsAtOnce)}
}

// enter waits for a place, or for all of them. leave gives back what was taken.
func (t *trials) enter(ctx context.Context, stop <-chan struct{}, isAlone bool) (leave func(), err error) {
	want, got := 1, 0
	if isAlone {
		if err := take(ctx, stop, t.turn); err != nil {
			return nil, err
		}
		want = cap(t.places)
	}
	leave = func() {
		for range got {
			<-t.places
		}
		if isAlone {
			<-t.turn
		}
	}
	for ; got < want; got++ {
		if err := take(ctx, stop, t.places); err != nil {
			leave()
			return nil, err
		}
	}
	return leave, nil
}

func take(ctx context.Context, stop <-chan struct{}, place chan<- struct{}) error {
	select {
	case place <- struct{}{}:
		return nil
	case <-stop:
		return errStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}
