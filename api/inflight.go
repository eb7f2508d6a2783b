package api

import (
	"sync"
	"time"
)

// twinWait is how long a request waits for its twins in this process: as long as
// the lock timeout makes it wait for one in another.
const twinWait = 500 * time.Millisecond

// inFlight keeps the twins of a running request away from the database, where
// each would hold a connection only to wait: a client that sends one key a
// hundred times must not take the pool from the others. It decides nothing;
// the key's row does.
type inFlight struct {
	mu   sync.Mutex
	keys map[twinKey]chan struct{}
}

type twinKey struct{ who, key string }

// enter returns leave, or, while a twin is running, a channel that is closed
// when it has left.
func (f *inFlight) enter(who, key string) (leave func(), twin <-chan struct{}) {
	k := twinKey{who, key}
	f.mu.Lock()
	defer f.mu.Unlock()
	if running, busy := f.keys[k]; busy {
		return nil, running
	}
	if f.keys == nil {
		f.keys = make(map[twinKey]chan struct{})
	}
	done := make(chan struct{})
	f.keys[k] = done
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.keys, k)
		close(done)
	}, nil
}
