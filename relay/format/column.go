package format

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/pgoutput"
)

// field is a column that a format reads.
type field struct {
	name  string
	index int // in the row; -1 when the table has no such column
	oid   uint32
}

// find binds names to columns. Missing required ones are listed in one error.
func find(r *pgoutput.Relation, required []string, optional ...string) (map[string]field, error) {
	fields := make(map[string]field, len(required)+len(optional))
	for i, c := range r.Columns {
		fields[string(c.Name)] = field{name: string(c.Name), index: i, oid: c.TypeOID}
	}
	for _, name := range required {
		if _, ok := fields[name]; !ok {
			return nil, fmt.Errorf("table %s.%s has no column %q", r.Namespace, r.Name, name)
		}
	}
	for _, name := range optional {
		if _, ok := fields[name]; !ok {
			fields[name] = field{name: name, index: -1}
		}
	}
	return fields, nil
}

// value returns the column as sent; ok is false for NULL and for a column that
// the table does not have.
func (f field) value(columns []pgoutput.Column) (c pgoutput.Column, ok bool, err error) {
	if f.index < 0 {
		return c, false, nil
	}
	if f.index >= len(columns) {
		return c, false, fault(BadValue, "row has %d columns, %q is number %d", len(columns), f.name, f.index+1)
	}
	c = columns[f.index]
	if c.Kind == pgoutput.Unchanged {
		return c, false, fault(BadValue, "column %q was not sent (unchanged TOAST)", f.name)
	}
	return c, c.Kind != pgoutput.Null, nil
}

// text appends the column in the form Postgres prints it in, which is what
// Debezium's string converter makes of the types supported here. ok is false
// for NULL.
func (f field) text(columns []pgoutput.Column, b *Buffer) (v []byte, ok bool, err error) {
	c, ok, err := f.value(columns)
	if err != nil || !ok {
		return nil, false, err
	}
	if c.Kind == pgoutput.Text && f.oid != pgtype.ByteaOID {
		return b.Copy(c.Value), true, nil
	}
	start := len(b.Bytes)
	switch f.oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.JSONOID:
		b.Bytes = append(b.Bytes, c.Value...)
	case pgtype.ByteaOID:
		raw, err := f.bytea(c, b)
		return raw, err == nil, err
	case pgtype.JSONBOID:
		if len(c.Value) == 0 || c.Value[0] != 1 {
			return nil, false, fault(BadValue, "column %q: jsonb of an unknown version", f.name)
		}
		b.Bytes = append(b.Bytes, c.Value[1:]...)
	case pgtype.UUIDOID:
		id, err := f.uuid(c)
		if err != nil {
			return nil, false, err
		}
		b.Bytes = AppendUUID(b.Bytes, id)
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		n, err := f.int(c)
		if err != nil {
			return nil, false, err
		}
		b.Bytes = appendInt(b.Bytes, n)
	case pgtype.BoolOID:
		if len(c.Value) != 1 {
			return nil, false, f.malformed()
		}
		b.Bytes = strconv.AppendBool(b.Bytes, c.Value[0] != 0)
	default:
		return nil, false, fault(BadValue, "column %q has type oid %d, which has no text form here", f.name, f.oid)
	}
	return b.Since(start), true, nil
}

func (f field) bytea(c pgoutput.Column, b *Buffer) ([]byte, error) {
	if c.Kind == pgoutput.Binary {
		return b.Copy(nonNil(c.Value)), nil
	}
	if len(c.Value) < 2 || c.Value[0] != '\\' || c.Value[1] != 'x' {
		return nil, fault(BadValue, "column %q: bytea is not in hex", f.name)
	}
	start := len(b.Bytes)
	var err error
	if b.Bytes, err = hex.AppendDecode(b.Bytes, c.Value[2:]); err != nil {
		return nil, fault(BadValue, "column %q: bytea is not in hex", f.name)
	}
	return b.Since(start), nil
}

func (f field) uuid(c pgoutput.Column) (id uuid.UUID, err error) {
	if c.Kind == pgoutput.Binary && f.oid == pgtype.UUIDOID {
		if len(c.Value) != len(id) {
			return id, f.malformed()
		}
		copy(id[:], c.Value)
		return id, nil
	}
	if id, err = uuid.ParseBytes(c.Value); err != nil {
		return id, fault(BadValue, "column %q is not a uuid", f.name)
	}
	return id, nil
}

func (f field) int(c pgoutput.Column) (int64, error) {
	if c.Kind == pgoutput.Text {
		n, err := strconv.ParseInt(string(c.Value), 10, 64)
		if err != nil {
			return 0, f.malformed()
		}
		return n, nil
	}
	switch {
	case f.oid == pgtype.Int2OID && len(c.Value) == 2:
		return int64(int16(binary.BigEndian.Uint16(c.Value))), nil
	case f.oid == pgtype.Int4OID && len(c.Value) == 4:
		return int64(int32(binary.BigEndian.Uint32(c.Value))), nil
	case f.oid == pgtype.Int8OID && len(c.Value) == 8:
		return int64(binary.BigEndian.Uint64(c.Value)), nil
	}
	return 0, f.malformed()
}

// time reads a timestamptz.
func (f field) time(c pgoutput.Column) (time.Time, error) {
	if c.Kind == pgoutput.Binary && f.oid == pgtype.TimestamptzOID && len(c.Value) == 8 {
		micros := int64(binary.BigEndian.Uint64(c.Value))
		if micros == -1<<63 || micros == 1<<63-1 {
			return time.Time{}, fault(BadValue, "column %q is infinite", f.name)
		}
		return Time(micros), nil
	}
	if c.Kind == pgoutput.Text {
		for _, layout := range [...]string{"2006-01-02 15:04:05.999999Z07", "2006-01-02 15:04:05.999999Z07:00"} {
			if t, err := time.Parse(layout, string(c.Value)); err == nil {
				return t.UTC(), nil
			}
		}
	}
	return time.Time{}, f.malformed()
}

func (f field) malformed() error {
	return fault(BadValue, "column %q: value does not fit type oid %d", f.name, f.oid)
}

// microsTo2000 is 2000-01-01 UTC in microseconds of the Unix epoch.
const microsTo2000 = 946684800 * 1_000_000

// Time converts the replication protocol's microseconds since 2000-01-01.
func Time(micros int64) time.Time { return time.UnixMicro(micros + microsTo2000).UTC() }

// Micros is the inverse of Time.
func Micros(t time.Time) int64 { return t.UnixMicro() - microsTo2000 }

// AppendUUID appends the text form.
func AppendUUID(b []byte, id uuid.UUID) []byte {
	b = hex.AppendEncode(b, id[0:4])
	b = append(b, '-')
	b = hex.AppendEncode(b, id[4:6])
	b = append(b, '-')
	b = hex.AppendEncode(b, id[6:8])
	b = append(b, '-')
	b = hex.AppendEncode(b, id[8:10])
	b = append(b, '-')
	return hex.AppendEncode(b, id[10:16])
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// nonNil keeps an empty value apart from null.
func nonNil(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}
