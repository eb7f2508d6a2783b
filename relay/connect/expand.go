package connect

import (
	"errors"
	"strconv"
	"unicode/utf8"
)

// Outcome of an expansion.
type Outcome uint8

const (
	// Kept: the text is no JSON that can be expanded. It is sent as it was.
	Kept Outcome = iota
	// Expanded: the text has a structure of its own now.
	Expanded
	// Untyped: it has no schema any more, and is the text that it was.
	Untyped
	// TooLarge: see ErrTooLarge.
	TooLarge
)

// ErrMismatch is text that has got a schema that it does not fit. A converter that
// looks at the schema cannot convert it; StringConverter sends the text.
var ErrMismatch = errors.New("JSON does not fit the schema inferred from it")

// errKept ends an inference: Debezium logs a warning and sends the text as it was.
var errKept = errors.New("no schema can be inferred")

// Expander is the router's table.expand.json.payload: it infers a schema from JSON
// text and writes the text in it. It is used again for each text, by one goroutine.
type Expander struct {
	// NullAsBytes keeps null as optional bytes (table.json.payload.null.behavior =
	// optional_bytes); else a field that is null is left out.
	NullAsBytes bool
	// EmptyAsString keeps an empty array as an array of optional strings
	// (table.json.payload.empty.array.behavior = optional_string); else it is left out.
	EmptyAsString bool
	// Named gives structs the names that AppendSchema shows.
	Named bool
	// Adjust changes the names of fields (field.name.adjustment.mode); nil keeps them.
	Adjust func(string) string

	parser
	shapes []shape
	root   int32
	source []byte
	steps  int // that are left
}

// maxSteps bounds the time that a text takes, to about a tenth of a second, and the bytes
// that are not its own, to 16 MiB. A text whose objects are alike takes a few for each of
// its values.
const maxSteps = 1 << 24

// step tells whether n more may be taken.
func (x *Expander) step(n int) bool {
	x.steps -= n
	return x.steps >= 0
}

// maxKept bounds what is kept from one text to the next.
const maxKept = 1 << 14

// shape is an inferred schema. Index 0 is none.
type shape struct {
	kind  Type
	elem  int32 // of an array
	first int32 // fields of a struct, which are shapes of their own in a list
	last  int32
	next  int32
	of    int32  // of a field: its schema
	field []byte // of a field: its name
	name  string // of a struct
}

// Expand reads text. name is that of the column, which the schema gets.
func (x *Expander) Expand(text []byte, name string) Outcome {
	if cap(x.nodes) > maxKept || cap(x.shapes) > maxKept || cap(x.text) > 64*maxKept {
		x.nodes, x.shapes, x.text = nil, nil, nil // a giant's memory is given back
	}
	x.shapes = append(x.shapes[:0], shape{})
	x.source, x.steps = text, maxSteps
	if len(text) == 0 || text[0] != '{' && text[0] != '[' {
		return Kept
	}
	err := x.parse(text)
	var root int32
	if err == nil {
		root, err = x.infer(1, name)
	}
	switch {
	case errors.Is(err, ErrTooLarge) || x.steps < 0:
		return TooLarge
	case err != nil:
		return Kept
	case root == 0:
		return Untyped
	}
	x.root = root
	return Expanded
}

func (x *Expander) shape(s shape) int32 {
	x.shapes = append(x.shapes, s)
	return int32(len(x.shapes) - 1)
}

// fieldSteps are those of a field that is kept, or written, for an object that lacks it.
const fieldSteps = 8

// AppendJSON is JsonConverter without schemas, of what was expanded.
func (x *Expander) AppendJSON(b []byte) ([]byte, error) {
	if x.shapes[x.root].kind != Struct {
		return b, ErrMismatch // the router makes a struct at the top or nothing
	}
	return x.inSteps(x.json(b, 1, x.root))
}

// inSteps makes an error of a search that was given up.
func (x *Expander) inSteps(b []byte, err error) ([]byte, error) {
	if x.steps < 0 {
		err = ErrTooLarge
	}
	return b, err
}

func (x *Expander) json(b []byte, at, of int32) ([]byte, error) {
	n, s := &x.nodes[at], &x.shapes[of]
	if !fits(n.kind, s.kind) {
		return b, ErrMismatch
	}
	var err error
	switch n.kind {
	case nullNode:
		return append(b, "null"...), nil
	case boolNode:
		return strconv.AppendBool(b, n.num != 0), nil
	case intNode, longNode:
		return strconv.AppendInt(b, n.num, 10), nil
	case doubleNode:
		return appendJSONDouble(b, n.float, 64), nil
	case stringNode:
		return AppendJSONString(b, n.text)
	case arrayNode:
		b = append(b, '[')
		for c := n.child; c != 0; c = x.nodes[c].next {
			if c != n.child {
				b = append(b, ',')
			}
			if b, err = x.json(b, c, s.elem); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	}
	b = append(b, '{')
	at = n.child // where the next field most often is
	for f := s.first; f != 0; f = x.shapes[f].next {
		if f != s.first {
			b = append(b, ',')
		}
		if b, err = AppendJSONString(b, x.shapes[f].field); err != nil {
			return b, err
		}
		b = append(b, ':')
		var c int32
		if c, at = x.seek(n, at, x.shapes[f].field); c == 0 {
			if !x.step(fieldSteps + len(x.shapes[f].field)) {
				return b, ErrTooLarge
			}
			b = append(b, "null"...)
		} else if b, err = x.json(b, c, x.shapes[f].of); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

// seek finds a member, first from where the one before was. It returns where to go
// on too.
func (x *Expander) seek(object *node, from int32, name []byte) (member, next int32) {
	for c := from; c != 0 && x.step(1); c = x.nodes[c].next {
		if string(x.nodes[c].name) == string(name) {
			return c, x.nodes[c].next
		}
	}
	for c := object.child; c != 0 && c != from && x.step(1); c = x.nodes[c].next {
		if string(x.nodes[c].name) == string(name) {
			return c, from
		}
	}
	return 0, from
}

// fits is Connect's check of a value that is put under a schema.
func fits(n nodeKind, s Type) bool {
	switch n {
	case nullNode:
		return true
	case boolNode:
		return s == Boolean
	case intNode:
		return s == Int32
	case longNode:
		return s == Int64
	case doubleNode:
		return s == Float64
	case stringNode:
		return s == String
	case arrayNode:
		return s == Array
	case objectNode:
		return s == Struct
	}
	return false // a number that no type holds
}

// AppendSchema appends the schema as JsonConverter writes it.
func (x *Expander) AppendSchema(b []byte) []byte { return append(x.schema(b, x.root), '}') }

// schema leaves the object open, for the name that a field gets at its end.
func (x *Expander) schema(b []byte, of int32) []byte {
	s := &x.shapes[of]
	b = append(b, `{"type":"`...)
	b = append(append(b, names[s.kind]...), '"')
	switch s.kind {
	case Array:
		b = append(x.schema(append(b, `,"items":`...), s.elem), '}')
	case Struct:
		b = append(b, `,"fields":[`...)
		for f := s.first; f != 0; f = x.shapes[f].next {
			if f != s.first {
				b = append(b, ',')
			}
			b = append(x.schema(b, x.shapes[f].of), `,"field":`...)
			b, _ = AppendJSONString(b, x.shapes[f].field) // what it lacks, AppendJSON refuses
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	b = append(b, `,"optional":true`...)
	if s.name != "" {
		b = appendQuoted(append(b, `,"name":`...), s.name)
	}
	return b
}

// AppendString is StringConverter: the toString of the structure. Where the text
// does not fit it is the text itself.
func (x *Expander) AppendString(b []byte) ([]byte, error) {
	start := len(b)
	b, err := x.AppendStruct(b)
	if errors.Is(err, ErrMismatch) {
		return append(b[:start], x.source...), nil
	}
	return b, err
}

// AppendStruct is AppendString where the text has to fit: ErrMismatch if it does not.
func (x *Expander) AppendStruct(b []byte) ([]byte, error) {
	if x.shapes[x.root].kind != Struct {
		return b, ErrMismatch
	}
	return x.inSteps(x.str(b, 1, x.root))
}

func (x *Expander) str(b []byte, at, of int32) ([]byte, error) {
	n, s := &x.nodes[at], &x.shapes[of]
	if !fits(n.kind, s.kind) {
		return b, ErrMismatch
	}
	var err error
	switch n.kind {
	case doubleNode:
		return appendDouble(b, n.float, 64), nil
	case stringNode:
		return appendReplaced(b, n.text), nil
	case arrayNode:
		b = append(b, '[')
		for c := n.child; c != 0; c = x.nodes[c].next {
			if c != n.child {
				b = append(b, ", "...)
			}
			if b, err = x.str(b, c, s.elem); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	case objectNode:
		b = append(b, "Struct{"...)
		first := true
		at = n.child
		for f := s.first; f != 0; f = x.shapes[f].next {
			var c int32
			if c, at = x.seek(n, at, x.shapes[f].field); c == 0 || x.nodes[c].kind == nullNode {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(appendReplaced(b, x.shapes[f].field), '=')
			if b, err = x.str(b, c, x.shapes[f].of); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
	return x.json(b, at, of)
}

// appendReplaced appends text as Java encodes it: half a surrogate pair is a
// question mark.
func appendReplaced(b, text []byte) []byte {
	if utf8.Valid(text) {
		return append(b, text...)
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, '?')
			i += 3 // see surrogate
			continue
		}
		b = append(b, text[i:i+n]...)
		i += n
	}
	return b
}
