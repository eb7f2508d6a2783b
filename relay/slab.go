package relay

import "github.com/gapless/gapless/relay/format"

const (
	slabRecords = 128
	slabBytes   = 96 << 10
	slabSpare   = 4 << 10          // for the record that goes beyond slabBytes
	slabHeaders = 16 * slabRecords // a slab that needs more grows by itself
	// The largest buffers worth keeping: a giant row's goes back to the garbage collector.
	keptBytes   = 512 << 10
	keptHeaders = 8 * slabHeaders
)

// slab holds the records that are made one after the other. It is used again
// when the last of them is acknowledged, so that streaming allocates nothing.
type slab struct {
	buf     format.Buffer
	records [slabRecords]format.Record
	used    int
	open    int // records not acknowledged
	sealed  bool
}

type slabs struct {
	current *slab
	free    []*slab
	// The most that a slab has needed, up to slabBytes and slabHeaders: a new one is made as
	// large.
	bytes, headers int
}

// next returns a record, and the buffer for its bytes. The record counts as
// open only after keep.
func (s *slabs) next() (*format.Record, *format.Buffer) {
	c := s.current
	if c == nil || c.used == slabRecords || len(c.buf.Bytes) >= slabBytes {
		c = s.turn()
	}
	return &c.records[c.used], &c.buf
}

func (s *slabs) turn() *slab {
	if old := s.current; old != nil {
		old.sealed = true
		s.bytes = max(s.bytes, min(len(old.buf.Bytes), slabBytes))
		s.headers = max(s.headers, min(len(old.buf.Headers), slabHeaders))
		if old.open == 0 {
			s.recycle(old)
		}
	}
	if n := len(s.free); n > 0 {
		s.current, s.free = s.free[n-1], s.free[:n-1]
		return s.current
	}
	s.current = &slab{buf: format.Buffer{
		Bytes: make([]byte, 0, s.bytes+slabSpare), Headers: make([]format.Header, 0, s.headers),
	}}
	return s.current
}

func (s *slabs) keep(r *format.Record) {
	c := s.current
	r.Owner = c
	c.used++
	c.open++
}

// done gives a record back. Its bytes may be gone at once.
func (s *slabs) done(r *format.Record) {
	c := r.Owner.(*slab)
	c.open--
	if c.open == 0 && c.sealed {
		s.recycle(c)
	}
}

func (s *slabs) recycle(c *slab) {
	if cap(c.buf.Bytes) > keptBytes || cap(c.buf.Headers) > keptHeaders {
		return
	}
	c.buf.Reset()
	c.used, c.sealed = 0, false
	s.free = append(s.free, c)
}
