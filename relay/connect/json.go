package connect

import (
	"encoding/base64"
	"errors"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrConvert is what a converter cannot do: Connect's task dies of it.
var ErrConvert = errors.New("no such conversion")

// ErrNull is null where the schema wants a value.
var ErrNull = errors.New("null value for field that is required and has no default value")

// JSON is JsonConverter without schemas. The envelope that it has with schemas is
// {"schema":…,"payload":…}, see [AppendSchema].
type JSON struct {
	NumericDecimals bool // decimal.format = NUMERIC
}

// Append appends the value.
func (j JSON) Append(b []byte, s *Schema, v Value) ([]byte, error) {
	var err error
	switch v.Kind {
	case NullKind:
		if !s.Optional {
			return b, ErrNull
		}
		return append(b, "null"...), nil
	case BoolKind, IntKind:
		return AppendString(b, s, v), nil
	case FloatKind:
		return appendJSONDouble(b, v.Float, 32), nil
	case DoubleKind:
		return appendJSONDouble(b, v.Float, 64), nil
	case TextKind:
		return AppendJSONString(b, v.Text)
	case BytesKind, ArrayKind:
		return appendBase64(b, v.Text), nil
	case DecimalKind:
		if j.NumericDecimals {
			return appendDecimal(b, v.Unscaled, v.Scale), nil
		}
		return appendBase64(b, AppendTwos(nil, v.Unscaled)), nil
	case ListKind:
		b = append(b, '[')
		for i, e := range v.List {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = j.Append(b, s.Elem, e); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	case MapKind:
		b = append(b, '{')
		for i := 0; i < len(v.List); i += 2 {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = AppendJSONString(b, v.List[i].Text); err != nil {
				return b, err
			}
			b = append(b, ':')
			if b, err = j.Append(b, s.Elem, v.List[i+1]); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	case StructKind:
		b = append(b, '{')
		for i, f := range v.Schema.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendName(b, f.Name); err != nil {
				return b, err
			}
			if b, err = j.Append(b, f.Schema, v.List[i]); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
	return b, ErrConvert
}

func appendName(b []byte, name string) ([]byte, error) {
	b, err := AppendJSONString(b, []byte(name))
	return append(b, ':'), err
}

// AppendSchema appends a schema as JsonConverter writes it.
func AppendSchema(b []byte, s *Schema) []byte {
	return append(appendSchemaOpen(b, s), '}')
}

// appendSchemaOpen leaves the object open, for the name that a field gets at its end.
func appendSchemaOpen(b []byte, s *Schema) []byte {
	b = append(b, `{"type":"`...)
	b = append(append(b, names[s.Type]...), '"')
	switch s.Type {
	case Array:
		b = append(b, `,"items":`...)
		b = AppendSchema(b, s.Elem)
	case Map:
		b = append(b, `,"keys":`...)
		b = AppendSchema(b, s.Key)
		b = append(b, `,"values":`...)
		b = AppendSchema(b, s.Elem)
	case Struct:
		b = append(b, `,"fields":[`...)
		for i, f := range s.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendSchemaOpen(b, f.Schema), `,"field":`...)
			b = append(appendQuoted(b, f.Name), '}')
		}
		b = append(b, ']')
	}
	b = append(b, `,"optional":`...)
	b = strconv.AppendBool(b, s.Optional)
	if s.Name != "" {
		b = appendQuoted(append(b, `,"name":`...), s.Name)
	}
	if s.Version != 0 {
		b = strconv.AppendInt(append(b, `,"version":`...), int64(s.Version), 10)
	}
	if s.Doc != "" {
		b = appendQuoted(append(b, `,"doc":`...), s.Doc)
	}
	for i, p := range s.Parameters {
		if i == 0 {
			b = append(b, `,"parameters":{`...)
		} else {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, p.Name), ':')
		b = appendQuoted(b, p.Value)
		if i == len(s.Parameters)-1 {
			b = append(b, '}')
		}
	}
	if s.Default != nil {
		b = append(b, `,"default":`...)
		b, _ = JSON{}.Append(b, s, *s.Default) // a default was made by us and converts
	}
	return b
}

// appendQuoted is for names, which come out of a catalog as UTF-8.
func appendQuoted(b []byte, s string) []byte {
	b, _ = AppendJSONString(b, []byte(s))
	return b
}

func appendBase64(b, raw []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, raw)
	return append(b, '"')
}

// appendJSONDouble quotes what JSON has no number for, as Jackson does.
func appendJSONDouble(b []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(appendDouble(append(b, '"'), f, bits), '"')
	}
	return appendDouble(b, f, bits)
}

const upperHex = "0123456789ABCDEF"

// AppendJSONString appends s as Jackson writes a string: nothing is escaped but what
// must be.
func AppendJSONString(b, s []byte) ([]byte, error) {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				unit, ok := surrogate(s[i:])
				if !ok {
					return b, ErrConvert
				}
				b = appendUnit(append(b, s[from:i]...), unit)
				i += 3
				from = i
				continue
			}
			i += n
			if n == 4 { // what Java has as two characters, Jackson writes as two
				b = append(b, s[from:i-n]...)
				high, low := utf16.EncodeRune(r)
				b = appendUnit(appendUnit(b, high), low)
				from = i
			}
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = appendUnit(b, rune(c))
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"'), nil
}

func appendUnit(b []byte, u rune) []byte {
	return append(b, '\\', 'u', upperHex[u>>12&15], upperHex[u>>8&15], upperHex[u>>4&15], upperHex[u&15])
}

// surrogate reads half a surrogate pair, which a JSON text may name by an escape and
// a Java string may hold. Here it is three bytes, as UTF-8 would have them.
func surrogate(s []byte) (rune, bool) {
	if len(s) < 3 || s[0] != 0xed || s[1] < 0xa0 {
		return 0, false
	}
	return 0xd000 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), true
}
