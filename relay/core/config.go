package core

import (
	"cmp"
	"slices"
	"time"
)

// Position is how far a stream was relayed; see the package comment.
type Position struct {
	Resume        LSN
	PartialCommit LSN // 0 when no transaction is partial
	PartialIndex  int64
}

// Point is one change of a transaction.
type Point struct {
	Commit LSN
	Index  int64
}

func (p Point) before(q Point) bool {
	return p.Commit < q.Commit || p.Commit == q.Commit && p.Index < q.Index
}

// Merge returns the points of a, which is in the log's order, and of b, which is in
// any, in that order and each once.
func Merge(a, b []Point) []Point {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(p, q Point) int { return cmp.Or(cmp.Compare(p.Commit, q.Commit), cmp.Compare(p.Index, q.Index)) })
	return slices.Compact(all)
}

// Config says where a Machine begins and what bounds it. Zero means default.
type Config struct {
	Position  Position // the stored one; Resume must not be 0
	Confirmed LSN      // the slot's confirmed_flush_lsn

	// Ahead are changes after Position that are known to be acknowledged, in the log's
	// order: an earlier stream of the same process saw it, see Machine.Ahead, or the topics
	// tell. They are skipped.
	Ahead []Point

	MaxRecords int   // in flight; default 4096
	MaxBytes   int64 // in flight; default 6 MiB
	// MaxBehind bounds what is known of behind the oldest change that is held: changes
	// held, acknowledged and in flight, of which nothing is kept but their places.
	// Default 100,000.
	MaxBehind     int
	ProgressEvery time.Duration // at most one progress write in this time; default 250 ms
	StatusEvery   time.Duration // longest silence towards the server; default 10 s
	// RecordAfter is how far keepalives alone may move the slot past the
	// progress record; default 16 MiB, one WAL segment.
	RecordAfter LSN
	// Recorded keeps the slot from passing the record at all: for streams with changes
	// that no proof can see, as they are in no table.
	Recorded bool
}

func (c Config) withDefaults() Config {
	c.MaxRecords = cmp.Or(c.MaxRecords, 4096)
	c.MaxBytes = cmp.Or(c.MaxBytes, 6<<20)
	c.MaxBehind = cmp.Or(c.MaxBehind, 100_000)
	c.ProgressEvery = cmp.Or(c.ProgressEvery, 250*time.Millisecond)
	c.StatusEvery = cmp.Or(c.StatusEvery, 10*time.Second)
	c.RecordAfter = cmp.Or(c.RecordAfter, 16<<20)
	return c
}

// Effects is what the driver must do now.
type Effects struct {
	// Write asks for Progress to be stored. Call Written with the outcome; no
	// other write is asked for before that.
	Write    bool
	Progress Position
	// Status asks for a standby status update with Flush as written, flushed
	// and applied position.
	Status bool
	Flush  LSN
}
