package connect

import "math/big"

// Kind of a Value: the Java class that Connect would hold.
type Kind uint8

// The zero Value is null.
const (
	NullKind    Kind = iota
	BoolKind         // Int is 0 or 1
	IntKind          // Short, Integer or Long, by the schema
	FloatKind        // of 32 bits
	DoubleKind       // of 64 bits
	TextKind         // Text
	BytesKind        // Text, a ByteBuffer
	ArrayKind        // Text, a byte[]
	DecimalKind      // Unscaled and Scale, a BigDecimal
	ListKind         // List
	MapKind          // List: key, value, key, value
	StructKind       // List, one for each field of Schema
)

// Value of a column. Its bytes may be views of a buffer that is used again.
type Value struct {
	Kind     Kind
	Int      int64
	Float    float64
	Text     []byte
	Unscaled *big.Int
	Scale    int32
	List     []Value
	Schema   *Schema // of a struct
}

// IsNull tells whether there is no value.
func (v Value) IsNull() bool { return v.Kind == NullKind }

// Integer makes a value of an integer.
func Integer(n int64) Value { return Value{Kind: IntKind, Int: n} }

// Bool makes a value of a boolean.
func Bool(b bool) Value {
	v := Value{Kind: BoolKind}
	if b {
		v.Int = 1
	}
	return v
}

// Text makes a value of a string.
func Text(b []byte) Value { return Value{Kind: TextKind, Text: b} }

// Binary makes a value of bytes.
func Binary(b []byte) Value { return Value{Kind: BytesKind, Text: b} }

// Array8 makes a value of bytes that Connect holds as a byte[].
func Array8(b []byte) Value { return Value{Kind: ArrayKind, Text: b} }
