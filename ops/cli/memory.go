package cli

import "runtime/debug"

// gcPercent of the services that live on small heaps and much short-lived
// memory: collecting at twice what is live, they would collect all the time.
const gcPercent = 400

// spareGC lets the heap grow further between two collections, unless the
// environment says how far.
func (e *env) spareGC() {
	if e.getenv("GOGC") == "" && e.getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
