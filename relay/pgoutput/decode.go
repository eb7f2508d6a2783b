package pgoutput

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors that Decode wraps.
var (
	ErrShort    = errors.New("message ends early")
	ErrTrailing = errors.New("bytes left over")
	ErrUnknown  = errors.New("unknown message kind")
	ErrInvalid  = errors.New("invalid field")
)

// Decode reads one message from data into m. Slices in m point into data.
// After an error m holds nothing usable.
func Decode(data []byte, m *Message) error {
	if len(data) == 0 {
		return fmt.Errorf("decode message: %w", ErrShort)
	}
	m.Kind = Kind(data[0])
	c := cursor{rest: data[1:]}
	switch m.Kind {
	case KindInsert:
		c.insert(&m.Row)
	case KindBegin:
		m.Begin = Begin{CommitLSN: c.uint64(), CommitTime: int64(c.uint64()), XID: c.uint32()}
	case KindCommit:
		c.flags()
		m.Commit = Commit{CommitLSN: c.uint64(), EndLSN: c.uint64(), CommitTime: int64(c.uint64())}
	case KindOrigin:
		m.Origin = Origin{CommitLSN: c.uint64(), Name: c.cstring()}
	case KindRelation:
		c.relation(&m.Relation)
	case KindType:
		m.Type = Type{OID: c.uint32(), Namespace: c.cstring(), Name: c.cstring()}
	case KindUpdate:
		c.update(&m.Row)
	case KindDelete:
		c.delete(&m.Row)
	case KindTruncate:
		c.truncate(&m.Truncate)
	case KindMessage:
		c.logical(&m.Logical)
	default:
		return fmt.Errorf("decode message kind %q: %w", data[0], ErrUnknown)
	}
	if c.err == nil && len(c.rest) != 0 {
		c.err = ErrTrailing
	}
	if c.err != nil {
		return fmt.Errorf("decode %s: %w", m.Kind, c.err)
	}
	return nil
}

// cursor reads fields in order. The first failure sticks and every later read
// returns zero, so that the callers above stay straight lines.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n < 0 || n > len(c.rest) {
		c.err = ErrShort
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) byte() byte {
	b := c.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (c *cursor) uint16() uint16 {
	b := c.take(2)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func (c *cursor) uint32() uint32 {
	b := c.take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (c *cursor) uint64() uint64 {
	b := c.take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (c *cursor) cstring() []byte {
	if c.err != nil {
		return nil
	}
	end := bytes.IndexByte(c.rest, 0)
	if end < 0 {
		c.err = ErrShort
		return nil
	}
	s := c.rest[:end:end]
	c.rest = c.rest[end+1:]
	return s
}

// flags reads a byte that protocol 1 defines as zero: another value means a
// server that says something this decoder would not understand.
func (c *cursor) flags() {
	if b := c.byte(); c.err == nil && b != 0 {
		c.err = fmt.Errorf("flags %#x: %w", b, ErrInvalid)
	}
}

func (c *cursor) expect(want byte) {
	if b := c.byte(); c.err == nil && b != want {
		c.err = fmt.Errorf("tuple marker %q, want %q: %w", b, want, ErrInvalid)
	}
}
