package format

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/pgoutput"
)

// Header is a record header. A nil Value is null. It is the Kafka client's own, so that the
// headers of a record in flight, of which there are more than of anything else, are in
// memory once.
type Header = kgo.RecordHeader

// Record is what a sink sends. Its bytes belong to a Buffer and are valid
// until the record was acknowledged.
type Record struct {
	Topic     string
	Key       []byte   // nil is null
	Value     []byte   // nil is null: a tombstone
	Headers   []Header // nothing of another record lies behind them: appending harms none
	Timestamp time.Time
	// Partition is where the record must go; -1 leaves it to the key.
	Partition int32

	EventID    uuid.UUID // zero when the row has none
	CommitTime time.Time
	Position   Position
	Seq        uint64 // the relay's number for the acknowledgement

	// Sink is the sink's own: what it hangs here is still here when the relay
	// uses the record again, after its acknowledgement. Owner is the relay's.
	Sink, Owner any
}

// Reset prepares a used record for the row at p.
func (r *Record) Reset(p Position) {
	t := Time(p.CommitTime)
	*r = Record{Position: p, CommitTime: t, Timestamp: t, Partition: -1, Seq: r.Seq, Sink: r.Sink, Owner: r.Owner}
}

// Size is the memory that the record's bytes take, roughly what it takes on
// the wire before compression.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
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

// String is what Append appends.
func (p Position) String() string { return string(p.Append(nil)) }

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
	Reason string // stable, for columns and labels: one of the constants
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
	// MissingColumn: the format reads a column that the table does not have.
	MissingColumn = "missing_column"
	// Unconvertible: the converter has no bytes for the value.
	Unconvertible = "unconvertible"
	Refused       = "refused" // by the far side, for the record alone
)

// Reasons are all of them.
var Reasons = []string{BadHeader, BadTopic, BadValue, TooLarge, MissingColumn, Unconvertible, Refused}

// Format knows the shape of one kind of table.
type Format interface {
	// Prepare binds the format to a table as the newest Relation has it. An
	// error means that no row of it could be sent: the relay stops and says so.
	Prepare(t *Table) (Rows, error)
}

// Table is a table as the newest Relation has it, with what only the catalog knows.
type Table struct {
	*pgoutput.Relation
	Attributes map[string]Attribute // by name; a column may lack
}

// Attribute is what the log does not say of a column. It is as of now, not as of
// when the row was written.
type Attribute struct {
	NotNull       bool
	Default       string   // as pg_get_expr prints it
	BaseOID       uint32   // of a domain
	BaseModifier  int32    // of a domain
	Labels        []string // of an enum, in its order
	ElementOID    uint32   // of an array whose OID is not a fixed one
	ElementLabels []string // of an array of an enum
	Textual       bool     // a type of an extension whose binary form is its text
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
	return b.Since(start)
}

// Since returns what was appended from start on. An append that outgrew the
// memory has moved to a new array; earlier records keep the old one.
func (b *Buffer) Since(start int) []byte {
	if b.Bytes == nil {
		return []byte{} // empty, which is not null
	}
	end := len(b.Bytes)
	return b.Bytes[start:end:end]
}

// Header appends a header.
func (b *Buffer) Header(name string, value []byte) {
	b.Headers = append(b.Headers, Header{Key: name, Value: value})
}
