package format

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/pgoutput"
)

// Header is a record header. A nil Value is null.
type Header struct {
	Name  string
	Value []byte
}

// Record is what a sink sends. Its bytes belong to a Buffer and are valid
// until the record was acknowledged.
type Record struct {
	Topic     string
	Key       []byte // nil is null
	Value     []byte // nil is null: a tombstone
	Headers   []Header
	Timestamp time.Time

	EventID    uuid.UUID // zero when the row has none
	CommitTime time.Time
	Position   Position
	Seq        uint64 // the relay's number for the acknowledgement

	// Sink is the sink's own: what it hangs here is still here when the relay
	// uses the record again, after its acknowledgement. Owner is the relay's.
	Sink, Owner any
}

// reset prepares a used record for the row at p.
func (r *Record) reset(p Position) {
	t := Time(p.CommitTime)
	*r = Record{Position: p, CommitTime: t, Timestamp: t, Seq: r.Seq, Sink: r.Sink, Owner: r.Owner}
}

// Size is the memory that the record's bytes take, roughly what it takes on
// the wire before compression.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Name) + len(r.Headers[i].Value)
	}
	return n
}

// Position is where in the log a row was committed.
type Position struct {
	Timeline   int32
	Commit     core.LSN // of the commit record
	Index      int64    // of the change in its transaction, from 0
	CommitTime int64    // microseconds since 2000-01-01 UTC
}

// Append appends timeline/LSN/index.
func (p Position) Append(b []byte) []byte {
	b = appendInt(b, int64(p.Timeline))
	b = append(b, '/')
	b = p.Commit.Append(b)
	b = append(b, '/')
	return appendInt(b, p.Index)
}

// Fault says why a row cannot become a record, or why a sink will never take
// it. It concerns this row alone: the stream may go on once the row is parked.
type Fault struct { //nolint:errname // a fault of the row, which errors.As finds; every caller calls it that
	Reason string // stable, for columns and labels: bad_header, bad_topic, bad_value, too_large, refused
	Detail string // never holds payload
}

func (f *Fault) Error() string { return f.Reason + ": " + f.Detail }

func fault(reason, detail string, args ...any) *Fault {
	return &Fault{Reason: reason, Detail: fmt.Sprintf(detail, args...)}
}

// Reasons of a Fault.
const (
	BadHeader = "bad_header"
	BadTopic  = "bad_topic"
	BadValue  = "bad_value"
	TooLarge  = "too_large"
	Refused   = "refused" // by the far side, for the record alone
)

// Format knows the shape of one kind of table.
type Format interface {
	// Prepare binds the format to a table as the newest Relation has it. An
	// error means that no row of it could be sent: the relay stops and says so.
	Prepare(r *pgoutput.Relation) (Rows, error)
}

// Rows makes records of one table's rows. It is for one goroutine.
type Rows interface {
	// Record fills r (but for Seq, Sink and Owner) from the columns of an insert. The
	// bytes go to b. On a *Fault r holds what could be read: topic, key and
	// value may be missing.
	Record(p Position, columns []pgoutput.Column, b *Buffer, r *Record) error
}

// Buffer holds the bytes and headers of many records. Records keep slices of
// it, so reset it only when all of them are done with.
type Buffer struct {
	Bytes   []byte
	Headers []Header
}

// Reset forgets what the buffer holds and keeps its memory.
func (b *Buffer) Reset() {
	b.Bytes = b.Bytes[:0]
	b.Headers = b.Headers[:0]
}

// Copy returns a copy of v that lives in b; nil stays nil.
func (b *Buffer) Copy(v []byte) []byte {
	if v == nil {
		return nil
	}
	start := len(b.Bytes)
	b.Bytes = append(b.Bytes, v...)
	return b.since(start)
}

// since returns what was appended from start on. An append that outgrew the
// memory has moved to a new array; earlier records keep the old one.
func (b *Buffer) since(start int) []byte {
	end := len(b.Bytes)
	return b.Bytes[start:end:end]
}

func (b *Buffer) header(name string, value []byte) {
	b.Headers = append(b.Headers, Header{name, value})
}
