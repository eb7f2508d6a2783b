package saga

import (
	"slices"
	"sync"
	"time"
)

// putAside is for how long the timer leaves a saga that it could not move.
const putAside = time.Minute

// aside are the sagas that the timer leaves. It may be used concurrently.
type aside struct {
	mu    sync.Mutex
	until map[sagaID]time.Time
}

func (a *aside) put(id sagaID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.until == nil {
		a.until = make(map[sagaID]time.Time)
	}
	a.until[id] = time.Now().Add(putAside)
}

// ids of those whose time is not over.
func (a *aside) ids() []sagaID {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]sagaID, 0, len(a.until))
	now := time.Now()
	for id, until := range a.until {
		if now.After(until) {
			delete(a.until, id)
			continue
		}
		list = append(list, id)
	}
	return slices.Clip(list)
}
