package eventrouter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/connect"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/pgoutput"
)

// rows makes records of one table. It is for one goroutine.
type rows struct {
	cfg     Config
	regex   pattern
	to      replacement
	topics  map[string]routed
	schema  string // name of the row's schema, up to the routed value; a message's has none
	scratch []byte
	expand  *connect.Expander

	id, key, payload, route, timestamp, version, trace *column
	idSchema, keySchema, payloadSchema                 []byte // rendered, where a converter shows schemas
	places                                             []*place
	envelope                                           bool
	wrapped                                            []*place // those in the envelope
}

// routed is what became of a value.
type routed struct {
	topic string
	err   error // it took too long: it would again
}

type place struct {
	Placement
	column   *column
	rendered []byte
	value    connect.Value // of the row under way
}

// maxTopics of up to maxRouted bytes bound the memory for routed values. What a row of
// more than maxScratch bytes has needed is given back.
const (
	maxTopics  = 4096
	maxRouted  = 1024
	maxScratch = 1 << 20
)

// Prepare binds the options to the table. A column that is missing is a fault of
// each row, not of the table: rows are parked until the table or the options are
// mended.
func (c Config) Prepare(t *format.Table) (format.Rows, error) {
	c = c.withDefaults()
	r, err := c.router()
	if err != nil {
		return nil, err
	}
	r.schema = strings.TrimPrefix(c.ServerName+"."+string(t.Namespace)+"."+string(t.Name), ".")
	r.bind(func(name string) *column { return bind(t, name, c) })
	return &r, nil
}

// router is for a Config with its defaults.
func (c Config) router() (rows, error) {
	re, to, err := c.compile()
	if err != nil {
		return rows{}, err
	}
	r := rows{cfg: c, regex: re, to: to, topics: map[string]routed{}, envelope: c.envelope()}
	if c.ExpandJSON {
		r.expand = &connect.Expander{NullAsBytes: c.NullAsBytes, EmptyAsString: c.EmptyArrayAsString, Named: c.Value.showsSchemas()}
		if c.AvroNames {
			r.expand.Adjust = avroName
		}
	}
	return r, nil
}

// bind finds the columns that the options name.
func (r *rows) bind(find func(name string) *column) {
	c := &r.cfg
	r.id, r.key, r.payload, r.route = find(c.EventID), find(c.EventKey), find(c.Payload), find(c.RouteBy)
	for name, at := range map[string]**column{c.Timestamp: &r.timestamp, c.SchemaVersion: &r.version, c.TraceContext: &r.trace} {
		if name != "" {
			*at = find(name)
		}
	}
	r.idSchema, r.keySchema, r.payloadSchema = render(&c.Header, r.id), render(&c.Key, r.key), render(&c.Value, r.payload)
	for _, p := range c.Placements {
		if p.Alias == "" {
			p.Alias = p.Column
		}
		col := find(p.Column)
		if !col.there() && c.IgnoreMissing {
			continue
		}
		at := &place{Placement: p, column: col, rendered: render(&c.Header, col)}
		if p.Where == Envelope {
			at.rendered = render(&c.Value, col)
			r.wrapped = append(r.wrapped, at)
		}
		r.places = append(r.places, at)
	}
}

// render writes a schema once for all rows.
func render(c *Converter, col *column) []byte {
	if !c.showsSchemas() || !col.there() {
		return nil
	}
	return connect.AppendSchema(nil, col.schema)
}

// avroName puts underscores for what Avro does not take in a name, one for each of Java's
// characters, of which some take two.
func avroName(s string) string {
	b := make([]byte, 0, len(s))
	for _, c := range s {
		switch {
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			b = append(b, byte(c))
		case c > 0xFFFF:
			b = append(b, '_', '_')
		default:
			b = append(b, '_')
		}
	}
	if len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
		b = append([]byte{'_'}, b...)
	}
	return string(b)
}

// Record implements format.Rows.
func (r *rows) Record(p format.Position, row []pgoutput.Column, b *format.Buffer, out *format.Record) error {
	out.Reset(p)
	if r.scratch = r.scratch[:0]; cap(r.scratch) > maxScratch {
		r.scratch = nil
	}
	first := len(b.Headers)
	err := r.fill(row, b, out)
	out.Headers = b.Headers[first:len(b.Headers):len(b.Headers)]
	return err
}

// fill makes as much of the record as can be made, and returns the first fault: a row
// that cannot be sent is parked with the rest of what it would have been.
func (r *rows) fill(row []pgoutput.Column, b *format.Buffer, out *format.Record) error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	key, err := r.key.value(row, &r.scratch)
	if err == nil {
		out.Key, err = r.convert(b, &r.cfg.Key, "key", subject{schema: r.key.schema, rendered: r.keySchema, value: key})
	}
	note(err)
	routed, err := r.topic(row, out)
	note(err)
	note(r.traceHeaders(row, b))
	r.extendedHeaders(b)
	note(r.identify(row, b, out))
	err = r.placed(row, b, out)
	note(err)
	note(r.stamp(row, out))
	note(r.body(row, b, out, routed, err == nil))
	return first
}

func (r *rows) identify(row []pgoutput.Column, b *format.Buffer, out *format.Record) error {
	id, err := r.id.value(row, &r.scratch)
	if err != nil {
		return err
	}
	if r.id.oid == pgtype.UUIDOID && id.Kind == connect.TextKind {
		out.EventID, _ = uuid.ParseBytes(id.Text) // of 16 bytes, which always are one
	}
	return r.header(b, "id", subject{schema: r.id.schema, rendered: r.idSchema, value: id})
}

func (r *rows) body(row []pgoutput.Column, b *format.Buffer, out *format.Record, routed string, placed bool) error {
	payload, err := r.payload.value(row, &r.scratch)
	if err != nil {
		return err
	}
	empty := payload.IsNull() || payload.Kind == connect.TextKind && blank(payload.Text)
	body, err := r.expanded(payload)
	if err != nil {
		return err
	}
	switch {
	case empty && r.cfg.TombstoneOnEmptyPayload:
	case r.envelope && !placed:
		// A column of the envelope was missing, which is the row's fault already.
	case r.envelope:
		out.Value, err = r.wrap(row, b, routed, body)
	default:
		out.Value, err = r.convert(b, &r.cfg.Value, "payload", body)
	}
	return err
}

func blank(text []byte) bool {
	for _, c := range text {
		if c > ' ' {
			return false
		}
	}
	return true
}

// convert appends to the buffer and returns what it appended; nil is null.
func (r *rows) convert(b *format.Buffer, c *Converter, what string, s subject) ([]byte, error) {
	start := len(b.Bytes)
	out, null, err := c.append(b.Bytes, s)
	if err != nil {
		return nil, unconvertible(what, err)
	}
	b.Bytes = out
	if null {
		return nil, nil
	}
	return b.Since(start), nil
}

func (r *rows) header(b *format.Buffer, name string, s subject) error {
	v, err := r.convert(b, &r.cfg.Header, "header "+name, s)
	if err == nil {
		b.Header(name, v)
	}
	return err
}

func (r *rows) topic(row []pgoutput.Column, out *format.Record) (string, error) {
	v, err := r.route.own(row, &r.scratch)
	if err != nil {
		return "", err
	}
	if v.Kind != connect.TextKind {
		return "", &format.Fault{Reason: format.BadTopic, Detail: fmt.Sprintf("column %q, which is routed by, is null or no text", r.route.name)}
	}
	to, ok := r.topics[string(v.Text)]
	if !ok {
		if len(r.topics) >= maxTopics {
			clear(r.topics)
		}
		to.topic, to.err = r.cfg.topic(r.regex, r.to, string(v.Text))
		if len(v.Text) <= maxRouted {
			r.topics[string(v.Text)] = to
		}
	}
	if to.err != nil {
		return "", to.err
	}
	out.Topic = to.topic
	return string(v.Text), format.CheckTopic(to.topic)
}

func (r *rows) expanded(payload connect.Value) (subject, error) {
	s := subject{schema: r.payload.schema, rendered: r.payloadSchema, value: payload}
	if r.expand == nil || payload.Kind != connect.TextKind {
		return s, nil
	}
	switch r.expand.Expand(payload.Text, r.payload.name) {
	case connect.Expanded:
		s.expanded = r.expand
	case connect.Untyped:
		s.schema, s.rendered = nil, nil
	case connect.TooLarge:
		return s, unconvertible("payload", connect.ErrTooLarge)
	}
	return s, nil
}

// placed puts the headers and the partition, and reads what belongs in the envelope.
func (r *rows) placed(row []pgoutput.Column, b *format.Buffer, out *format.Record) error {
	for _, p := range r.places {
		read := p.column.value
		if p.Where == Partition {
			read = p.column.own
		}
		v, err := read(row, &r.scratch)
		if err != nil {
			return err
		}
		switch p.Where {
		case Header:
			if err := r.header(b, p.Alias, subject{schema: p.column.schema, rendered: p.rendered, value: v}); err != nil {
				return err
			}
		case Envelope:
			p.value = v
		case Partition:
			switch {
			case v.IsNull():
			case p.column.schema.Type != connect.Int32 && p.column.schema.Type != connect.Int16 && p.column.schema.Type != connect.Int64,
				v.Int < 0, v.Int > 1<<31-1:
				return &format.Fault{Reason: format.BadValue, Detail: fmt.Sprintf("column %q is no partition: 0 to 2147483647 are", p.Column)}
			default:
				out.Partition = int32(v.Int)
			}
		}
	}
	return nil
}

// stamp sets the record's timestamp, in whole milliseconds as Kafka has it.
func (r *rows) stamp(row []pgoutput.Column, out *format.Record) error {
	if r.timestamp == nil {
		return nil
	}
	v, err := r.timestamp.own(row, &r.scratch)
	if err != nil || v.IsNull() {
		return err
	}
	var millis int64
	switch {
	case r.timestamp.oid == pgtype.TimestampOID && r.timestamp.millis():
		millis = v.Int
	case r.timestamp.oid == pgtype.TimestampOID:
		millis = v.Int / 1000
	case r.timestamp.oid == pgtype.TimestamptzOID:
		t, err := time.Parse(time.RFC3339Nano, string(v.Text))
		if err != nil {
			return &format.Fault{Reason: format.BadValue, Detail: fmt.Sprintf("column %q is no time that a record can have", r.timestamp.name)}
		}
		millis = t.UnixMilli()
	default:
		return &format.Fault{Reason: format.BadValue, Detail: fmt.Sprintf("column %q is neither timestamp nor timestamptz", r.timestamp.name)}
	}
	const last = 253402300799999 // of the year 9999
	if millis < 0 || millis > last {
		return &format.Fault{Reason: format.BadValue, Detail: fmt.Sprintf("column %q is before 1970 or after 9999, which no record can be", r.timestamp.name)}
	}
	out.Timestamp = time.UnixMilli(millis).UTC()
	return nil
}

// wrap makes the envelope {payload, alias, …}.
func (r *rows) wrap(row []pgoutput.Column, b *format.Buffer, routed string, body subject) ([]byte, error) {
	conv := &r.cfg.Value
	for conv.Class == BinaryConverter && conv.Delegate != nil {
		conv = conv.Delegate
	}
	start := len(b.Bytes)
	var err error
	switch conv.Class {
	case StringConverter:
		b.Bytes, err = r.wrapString(b.Bytes, body)
	case JSONConverter:
		if conv.Schemas {
			if b.Bytes, err = r.wrapSchema(b.Bytes, row, routed, body); err != nil {
				return nil, err
			}
		}
		b.Bytes, err = r.wrapJSON(b.Bytes, conv, body)
		if conv.Schemas {
			b.Bytes = append(b.Bytes, '}')
		}
	case BytesConverter:
		err = errOnlyBytes
	default:
		err = errNoDelegate
	}
	if err != nil {
		b.Bytes = b.Bytes[:start]
		return nil, unconvertible("payload", err)
	}
	return b.Since(start), nil
}

var errUntyped = errors.New("it has no schema, which a field of an envelope needs")

// wrapString is a Struct's toString, which leaves out what is null.
func (r *rows) wrapString(b []byte, body subject) ([]byte, error) {
	b = append(b, "Struct{"...)
	start := len(b)
	switch {
	case body.schema == nil:
		return b, errUntyped
	case body.expanded != nil:
		// Text that does not fit its schema cannot be put into the envelope.
		var err error
		if b, err = body.expanded.AppendStruct(append(b, "payload="...)); err != nil {
			return b, err
		}
	case !body.value.IsNull():
		b = connect.AppendString(append(b, "payload="...), body.schema, body.value)
	}
	for _, p := range r.wrapped {
		if p.value.IsNull() {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(append(b, p.Alias...), '=')
		b = connect.AppendString(b, p.column.schema, p.value)
	}
	return append(b, '}'), nil
}

func (r *rows) wrapJSON(b []byte, conv *Converter, body subject) ([]byte, error) {
	if body.schema == nil {
		return b, errUntyped
	}
	b, err := conv.jsonValue(append(b, `{"payload":`...), body)
	if err != nil {
		return b, err
	}
	for _, p := range r.wrapped {
		if b, err = connect.AppendJSONString(append(b, ','), []byte(p.Alias)); err != nil {
			return b, err
		}
		b, err = connect.JSON{NumericDecimals: conv.NumericDecimals}.Append(append(b, ':'), p.column.schema, p.value)
		if err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

// wrapSchema writes the envelope's schema, named after the row's schema with the
// routed value before its last part, or where that has no name after the value alone.
func (r *rows) wrapSchema(b []byte, row []pgoutput.Column, routed string, body subject) ([]byte, error) {
	b = append(b, `{"schema":{"type":"struct","fields":[`...)
	field := func(rendered []byte, name string) {
		b = append(b, rendered[:len(rendered)-1]...)
		b, _ = connect.AppendJSONString(append(b, `,"field":`...), []byte(name)) // of options, which are UTF-8
		b = append(b, '}')
	}
	switch {
	case body.expanded != nil:
		field(body.expanded.AppendSchema(nil), "payload")
	case body.schema == nil:
		return b, unconvertible("payload", errUntyped)
	default:
		field(body.rendered, "payload")
	}
	for _, p := range r.wrapped {
		b = append(b, ',')
		field(p.rendered, p.Alias)
	}
	b = append(b, `],"optional":false,"name":`...)
	name := routed
	if r.schema != "" {
		name = r.schema + "." + routed + ".Value"
	}
	b, _ = connect.AppendJSONString(b, []byte(name))
	if r.version != nil {
		v, err := r.version.own(row, &r.scratch)
		if err != nil {
			return b, err
		}
		switch {
		case v.IsNull(): // it has none
		case v.Kind != connect.IntKind:
			return b, unconvertible("schema version", fmt.Errorf("column %q is no integer", r.version.name))
		default:
			b = fmt.Appendf(b, `,"version":%d`, v.Int)
		}
	}
	return append(b, `},"payload":`...), nil
}

// extendedHeaders are those of a Debezium connector, without the identity of its run,
// which would make other bytes of the same row.
func (r *rows) extendedHeaders(b *format.Buffer) {
	if !r.cfg.ExtendedHeaders {
		return
	}
	b.Header("__debezium.context.connectorLogicalName", []byte(r.cfg.ServerName))
	b.Header("__debezium.context.taskId", []byte("0"))
	b.Header("__debezium.context.connectorName", []byte("postgresql"))
}

// traceHeaders sends the context that the writer stored, as it is: a context in a
// message is never changed. The column has one name=value a line. One that has the name of
// a header which the relay makes is left out: the first of two is what a reader finds.
func (r *rows) traceHeaders(row []pgoutput.Column, b *format.Buffer) error {
	if r.trace == nil || !r.trace.there() {
		return nil
	}
	v, err := r.trace.value(row, &r.scratch)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(v.Text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if name = strings.TrimSpace(name); !ok || name == "" || name[0] == '#' || name[0] == '!' || r.makes(name) {
			continue
		}
		b.Header(name, []byte(strings.TrimSpace(value)))
	}
	return nil
}

// makes tells whether a header of that name is the relay's own.
func (r *rows) makes(name string) bool {
	return name == "id" || name == "gapless_replay" || strings.HasPrefix(name, "__debezium.context.") ||
		slices.ContainsFunc(r.places, func(p *place) bool { return p.Where == Header && p.Alias == name })
}
