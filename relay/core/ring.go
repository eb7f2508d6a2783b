package core

// entry is a record in flight, or the commit that follows such records.
type entry struct {
	lsn   LSN   // of the commit record; of its end when this is a commit
	index int64 // of the change in its transaction; -1 when this is a commit
	at    int64 // when it was committed, see Begin
	size  int64
	acked bool
	held  bool
}

const commitEntry = -1

// ring holds entries in stream order under ever-growing sequence numbers.
// head is the oldest one that is not acknowledged.
type ring struct {
	entries    []entry // a power of two long
	head, tail uint64
}

func newRing(capacity int) ring {
	n := 16
	for n < capacity {
		n *= 2
	}
	return ring{entries: make([]entry, n)}
}

func (r *ring) empty() bool { return r.head == r.tail }

func (r *ring) at(seq uint64) *entry { return &r.entries[seq&uint64(len(r.entries)-1)] }

func (r *ring) push(e entry) uint64 {
	if r.tail-r.head == uint64(len(r.entries)) {
		r.grow()
	}
	seq := r.tail
	*r.at(seq) = e
	r.tail++
	return seq
}

// grow doubles the ring. It happens only when the driver goes on feeding a
// paused machine; to refuse there would lose the change.
func (r *ring) grow() {
	bigger := ring{entries: make([]entry, 2*len(r.entries)), head: r.head, tail: r.tail}
	for seq := r.head; seq != r.tail; seq++ {
		*bigger.at(seq) = *r.at(seq)
	}
	*r = bigger
}
