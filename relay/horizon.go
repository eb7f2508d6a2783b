package relay

import (
	"strconv"
	"strings"
	"time"
)

// horizon tells when a proof covers rows of tables of one's own, which have no column xid.
//
// All that tells when such a row was written is its xmin, which may be a subtransaction's.
// Of a transaction that is open in the proof's snapshot it may then be a part, so only a row
// below the oldest of those counts as covered, see relay_unproven_foreign.sql. A slot that is
// moved past the record by a proof that does not cover the newest rows would be refused at
// the next start. So it is not moved until the transactions have ended that were open when
// the newest row had been relayed.
type horizon struct {
	at       uint64 // the id that was next when the first proof behind the newest event was taken; 0: none is
	activity uint64 // of that event
	tries    int    // that came too early
}

// reached takes the proof that was asked for at activity.
func (h *horizon) reached(p proof, activity uint64) bool {
	oldest, next, ok := snapshotBounds(p.Snapshot)
	if !ok {
		return false
	}
	if h.at == 0 || h.activity != activity {
		*h = horizon{at: next, activity: activity}
	}
	if oldest >= h.at {
		h.tries = 0
		return true
	}
	h.tries++
	return false
}

// pause is how long after a proof the next one is taken.
func (h *horizon) pause() time.Duration { return min(quiet<<min(h.tries, 3), 5*time.Second) }

// snapshotBounds reads a pg_snapshot, xmin:xmax:list: the oldest transaction that is open,
// and the id that is next.
// https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
func snapshotBounds(text string) (oldest, next uint64, ok bool) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 {
		return 0, 0, false
	}
	oldest, errOldest := strconv.ParseUint(parts[0], 10, 64)
	next, errNext := strconv.ParseUint(parts[1], 10, 64)
	return oldest, next, errOldest == nil && errNext == nil
}
