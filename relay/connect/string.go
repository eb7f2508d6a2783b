package connect

import (
	"encoding/base64"
	"strconv"
)

// AppendString is StringConverter: Java's toString. null has no bytes at all, which
// is the caller's to see.
func AppendString(b []byte, s *Schema, v Value) []byte {
	switch v.Kind {
	case NullKind:
		return append(b, "null"...) // inside of something
	case BoolKind:
		return strconv.AppendBool(b, v.Int != 0)
	case IntKind:
		return strconv.AppendInt(b, v.Int, 10)
	case FloatKind:
		return appendDouble(b, v.Float, 32)
	case DoubleKind:
		return appendDouble(b, v.Float, 64)
	case TextKind:
		return append(b, v.Text...)
	case BytesKind:
		return appendBuffer(b, len(v.Text))
	case ArrayKind:
		// Java prints where in its memory the array is, which is another text each time.
		return base64.StdEncoding.AppendEncode(b, v.Text)
	case DecimalKind:
		return appendDecimal(b, v.Unscaled, v.Scale)
	case ListKind:
		b = append(b, '[')
		for i, e := range v.List {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = AppendString(b, s.Elem, e)
		}
		return append(b, ']')
	case MapKind:
		b = append(b, '{')
		for i := 0; i < len(v.List); i += 2 {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(AppendString(b, s.Key, v.List[i]), '=')
			b = AppendString(b, s.Elem, v.List[i+1])
		}
		return append(b, '}')
	case StructKind:
		b = append(b, "Struct{"...)
		first := true
		for i, f := range v.Schema.Fields {
			if v.List[i].IsNull() {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(append(b, f.Name...), '=')
			b = AppendString(b, f.Schema, v.List[i])
		}
		return append(b, '}')
	}
	return b
}

// appendBuffer is the toString of a ByteBuffer, which shows no byte of it.
func appendBuffer(b []byte, n int) []byte {
	b = append(b, "java.nio.HeapByteBuffer[pos=0 lim="...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, " cap="...)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, ']')
}

// AppendSimple is SimpleHeaderConverter. null has no bytes, which is the caller's
// to see.
func AppendSimple(b []byte, s *Schema, v Value) []byte { return appendSimple(b, s, v, false) }

func appendSimple(b []byte, s *Schema, v Value, embedded bool) []byte {
	switch v.Kind {
	case TextKind:
		if !embedded {
			return append(b, v.Text...)
		}
		b = append(b, '"')
		for _, c := range v.Text {
			if c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
		return append(b, '"')
	case BytesKind, ArrayKind:
		if embedded {
			b = append(b, '"')
		}
		b = base64.StdEncoding.AppendEncode(b, v.Text)
		if embedded {
			b = append(b, '"')
		}
		return b
	case ListKind:
		b = append(b, '[')
		for i, e := range v.List {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendSimple(b, s.Elem, e, true)
		}
		return append(b, ']')
	case MapKind:
		b = append(b, '{')
		for i := 0; i < len(v.List); i += 2 {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendSimple(b, s.Key, v.List[i], true), ':')
			b = appendSimple(b, s.Elem, v.List[i+1], true)
		}
		return append(b, '}')
	case StructKind:
		b = append(b, '{')
		for i, f := range v.Schema.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendSimple(b, nil, Text([]byte(f.Name)), true), ':')
			b = appendSimple(b, f.Schema, v.List[i], true)
		}
		return append(b, '}')
	}
	return AppendString(b, s, v)
}
