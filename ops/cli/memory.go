package cli

import "runtime/debug"

// gcPercent of the services that live on small heaps and much short-lived
// memory: collecting at twice what is live, they would collect all the time.
const gcPercent = 400

// leanPercent is the relay's: a sidecar is to be small, and allocates next to nothing.
const leanPercent = 50

// leanGC keeps the heap close to what is live, unless the environment says how close.
func (e *env) leanGC() {
	if e.getenv("GOGC") == "" && e.getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(leanPercent)
	}
}

// spareGC lets the heap grow further between two collections, unless the
// environment says how far. GOMEMLIMIT holds beside it.
func (e *env) spareGC() {
	if e.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
