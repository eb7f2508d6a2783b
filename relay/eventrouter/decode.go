package eventrouter

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/connect"
	"github.com/gapless/gapless/relay/format"
)

// decode reads the column's binary form.
// https://github.com/postgres/postgres/tree/master/src/backend/utils/adt, the …_send
// functions.
func (c *column) decode(v []byte, scratch *[]byte) (connect.Value, error) {
	if c.elem != nil {
		return c.array(v, scratch)
	}
	switch c.oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.QCharOID, pgtype.JSONOID, pgtype.XMLOID:
		return connect.Text(v), nil
	case pgtype.NameOID:
		return connect.Value{}, nil // which Debezium sends as null
	case pgtype.JSONBOID:
		if len(v) == 0 || v[0] != 1 {
			return connect.Value{}, c.malformed()
		}
		return connect.Text(v[1:]), nil
	case pgtype.ByteaOID:
		return c.binary(v, scratch), nil
	case pgtype.UUIDOID:
		if len(v) != 16 {
			return connect.Value{}, c.malformed()
		}
		return keep(scratch, func(b []byte) []byte { return format.AppendUUID(b, uuid.UUID(v)) }), nil
	case pgtype.NumericOID:
		return c.numeric(v, scratch)
	case pgtype.InetOID, pgtype.CIDROID:
		return c.inet(v, scratch)
	case pgtype.MacaddrOID, pgtype.Macaddr8OID:
		return keep(scratch, func(b []byte) []byte { return appendMAC(b, v) }), nil
	case pgtype.BitOID, pgtype.VarbitOID:
		return c.bits(v, scratch)
	case pgtype.PointOID:
		if len(v) != 16 {
			return connect.Value{}, c.malformed()
		}
		return c.point(v), nil
	case pgtype.Int4rangeOID, pgtype.Int8rangeOID:
		return c.intRange(v, scratch)
	case pgtype.TSVectorOID:
		return c.tsvector(v, scratch)
	}
	return c.fixed(v, scratch)
}

// fixed reads the types of a fixed length.
func (c *column) fixed(v []byte, scratch *[]byte) (connect.Value, error) {
	var n int64
	switch len(v) {
	case 1:
		n = int64(v[0])
	case 2:
		n = int64(int16(binary.BigEndian.Uint16(v)))
	case 4:
		n = int64(int32(binary.BigEndian.Uint32(v)))
	case 8, 12, 16:
		n = int64(binary.BigEndian.Uint64(v))
	}
	switch want := widths[c.oid]; {
	case want == 0 || want != len(v):
		return connect.Value{}, c.malformed()
	case c.oid == pgtype.BoolOID:
		return connect.Bool(n != 0), nil
	case c.oid == pgtype.OIDOID:
		return connect.Integer(int64(uint32(n))), nil
	case c.oid == pgtype.Float4OID:
		return connect.Value{Kind: connect.FloatKind, Float: float64(math.Float32frombits(uint32(n)))}, nil
	case c.oid == pgtype.Float8OID:
		return connect.Value{Kind: connect.DoubleKind, Float: math.Float64frombits(uint64(n))}, nil
	case c.oid == pgtype.DateOID:
		return dateValue(n), nil
	case c.oid == pgtype.TimeOID:
		if c.millis() {
			n /= 1000
		}
	case c.oid == pgtype.TimestampOID:
		return c.timestamp(n), nil
	case c.oid == pgtype.TimestamptzOID:
		return keep(scratch, func(b []byte) []byte { return appendTimestamptz(b, n, c.modifier) }), nil
	case c.oid == pgtype.TimetzOID:
		west := int64(int32(binary.BigEndian.Uint32(v[8:])))
		return keep(scratch, func(b []byte) []byte { return appendTimetz(b, n, west) }), nil
	case c.oid == pgtype.IntervalOID:
		return connect.Integer(intervalMicros(n, int64(int32(binary.BigEndian.Uint32(v[8:]))), int64(int32(binary.BigEndian.Uint32(v[12:]))))), nil
	case c.oid == oidMoney:
		return c.decimal(big.NewInt(n), 2, scratch), nil
	}
	return connect.Integer(n), nil
}

var widths = map[uint32]int{
	pgtype.BoolOID: 1, pgtype.Int2OID: 2, pgtype.Int4OID: 4, pgtype.Int8OID: 8, pgtype.OIDOID: 4, pgtype.Float4OID: 4, pgtype.Float8OID: 8, pgtype.DateOID: 4, pgtype.TimeOID: 8,
	pgtype.TimestampOID: 8, pgtype.TimestamptzOID: 8, pgtype.TimetzOID: 12, pgtype.IntervalOID: 16, oidMoney: 8,
}

// keep makes a text in scratch, where it stays until the record is made.
func keep(scratch *[]byte, write func([]byte) []byte) connect.Value {
	start := len(*scratch)
	*scratch = write(*scratch)
	return connect.Text((*scratch)[start:len(*scratch):len(*scratch)])
}

func (c *column) binary(v []byte, scratch *[]byte) connect.Value {
	switch c.binaries {
	case Base64Binaries:
		return keep(scratch, func(b []byte) []byte { return base64.StdEncoding.AppendEncode(b, v) })
	case Base64URLBinaries:
		return keep(scratch, func(b []byte) []byte { return base64.URLEncoding.AppendEncode(b, v) })
	case HexBinaries:
		return keep(scratch, func(b []byte) []byte { return hex.AppendEncode(b, v) })
	}
	return connect.Binary(v)
}

func appendMAC(b, v []byte) []byte {
	for i := range v {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, v[i:i+1])
	}
	return b
}

// maxDigits bounds the decimal digits of an array of numerics, and with them time and
// memory: 10 bytes may stand for a number of 147,455 digits.
const maxDigits = 4 << 20

// numericHeader is what stands in front of a numeric's digits.
type numericHeader struct {
	count  int // of groups of four digits
	weight int // the first group is of 10000 to the power of it
	sign   uint16
	scale  int // decimals that are shown
}

const numericHeaderBytes = 8

func readNumericHeader(v []byte) (h numericHeader, ok bool) {
	if len(v) < numericHeaderBytes || len(v)%2 != 0 {
		return h, false
	}
	word := func(i int) int { return int(int16(binary.BigEndian.Uint16(v[2*i:]))) }
	h = numericHeader{count: word(0), weight: word(1), sign: binary.BigEndian.Uint16(v[4:]), scale: word(3)}
	return h, h.isSpecial() || len(v) == numericHeaderBytes+2*h.count && h.scale >= 0
}

// isSpecial tells NaN and the infinities.
func (h numericHeader) isSpecial() bool { return h.sign&0xc000 == 0xc000 }

// digits bounds how many there are from above, those in front of the point that are not
// sent included.
func (h numericHeader) digits() int { return 4*max(h.count, h.weight+1, 0) + h.scale }

// numeric reads groups of four decimal digits.
func (c *column) numeric(v []byte, scratch *[]byte) (connect.Value, error) {
	h, ok := readNumericHeader(v)
	if !ok {
		return connect.Value{}, c.malformed()
	}
	if h.isSpecial() {
		return connect.Value{}, nil // as Debezium sends them
	}
	// The digits are an integer of base 10000 with (count-1-weight) groups behind the
	// point, and the value shows scale decimals.
	unscaled, ok := groups(v[numericHeaderBytes:])
	if !ok {
		return connect.Value{}, c.malformed()
	}
	have := 4 * (h.count - 1 - h.weight)
	if h.count == 0 {
		have = 0
	}
	switch {
	case have < h.scale:
		unscaled.Mul(unscaled, powerOfTen(h.scale-have))
	case have > h.scale:
		unscaled.Quo(unscaled, powerOfTen(have-h.scale))
	}
	if h.sign != 0 {
		unscaled.Neg(unscaled)
	}
	return c.decimal(unscaled, int32(h.scale), scratch), nil
}

func powerOfTen(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// groups makes a number of its digits to the base of 10000.
func groups(v []byte) (n *big.Int, ok bool) {
	for i := 0; i < len(v); i += 2 {
		if binary.BigEndian.Uint16(v[i:]) >= 10000 {
			return nil, false
		}
	}
	const inWord = 4 // so many groups fit an int64
	if len(v) <= 2*inWord {
		word := int64(0)
		for ; len(v) > 0; v = v[2:] {
			word = word*10000 + int64(binary.BigEndian.Uint16(v))
		}
		return big.NewInt(word), true
	}
	// Of a long text the library makes a number in less than quadratic time.
	text := make([]byte, 0, 2*len(v))
	for ; len(v) > 0; v = v[2:] {
		g := binary.BigEndian.Uint16(v)
		text = append(text, byte('0'+g/1000), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10))
	}
	return new(big.Int).SetString(string(text), 10)
}

// decimal makes the value of a numeric or of money.
func (c *column) decimal(unscaled *big.Int, scale int32, scratch *[]byte) connect.Value {
	d := connect.Value{Kind: connect.DecimalKind, Unscaled: unscaled, Scale: scale}
	switch {
	case c.decimals == StringDecimals:
		return keep(scratch, func(b []byte) []byte { return connect.AppendPlain(b, unscaled, scale) })
	case c.decimals == DoubleDecimals:
		f, _ := strconv.ParseFloat(string(connect.AppendString(nil, nil, d)), 64)
		return connect.Value{Kind: connect.DoubleKind, Float: f}
	case c.schema != nil && c.schema.Type == connect.Struct:
		if zeros := min(int(scale), trailingZeros(unscaled)); zeros > 0 {
			unscaled, scale = new(big.Int).Quo(unscaled, powerOfTen(zeros)), scale-int32(zeros)
		}
		return connect.Value{Kind: connect.StructKind, Schema: c.schema, List: []connect.Value{
			connect.Integer(int64(scale)), connect.Array8(connect.AppendTwos(nil, unscaled)),
		}}
	}
	return d
}

// trailingZeros of the decimal digits; of 0 there are as many as one likes.
func trailingZeros(n *big.Int) int {
	if n.Sign() == 0 {
		return math.MaxInt
	}
	digits := n.Append(nil, 10)
	return len(digits) - len(bytes.TrimRight(digits, "0"))
}

func (c *column) inet(v []byte, scratch *[]byte) (connect.Value, error) {
	if len(v) < 4 || len(v) != 4+int(v[3]) {
		return connect.Value{}, c.malformed()
	}
	address, ok := netip.AddrFromSlice(v[4:])
	if !ok {
		return connect.Value{}, c.malformed()
	}
	return keep(scratch, func(b []byte) []byte {
		b = address.AppendTo(b)
		if c.oid == pgtype.CIDROID || int(v[1]) != address.BitLen() {
			b = strconv.AppendInt(append(b, '/'), int64(v[1]), 10)
		}
		return b
	}), nil
}

// bits reverses the bytes: Debezium sends the lowest first.
func (c *column) bits(v []byte, scratch *[]byte) (connect.Value, error) {
	if len(v) < 4 {
		return connect.Value{}, c.malformed()
	}
	n := int(binary.BigEndian.Uint32(v))
	if (n+7)/8 != len(v)-4 {
		return connect.Value{}, c.malformed()
	}
	number := new(big.Int).SetBytes(v[4:])
	number.Rsh(number, uint(8*(len(v)-4)-n))
	if c.schema != nil && c.schema.Type == connect.Boolean {
		return connect.Bool(number.Sign() != 0), nil
	}
	text := keep(scratch, func(b []byte) []byte {
		start := len(b)
		b = append(b, number.Bytes()...)
		for i, j := start, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		return b
	})
	return connect.Array8(text.Text), nil
}

func (c *column) point(v []byte) connect.Value {
	x, y := math.Float64frombits(binary.BigEndian.Uint64(v)), math.Float64frombits(binary.BigEndian.Uint64(v[8:]))
	wkb := []byte{1, 1, 0, 0, 0} // well-known binary, little end first, a point
	wkb = binary.LittleEndian.AppendUint64(wkb, math.Float64bits(x))
	wkb = binary.LittleEndian.AppendUint64(wkb, math.Float64bits(y))
	return connect.Value{Kind: connect.StructKind, Schema: c.schema, List: []connect.Value{
		{Kind: connect.DoubleKind, Float: x}, {Kind: connect.DoubleKind, Float: y}, connect.Array8(wkb), {},
	}}
}

// intRange prints a range of integers as Postgres does.
func (c *column) intRange(v []byte, scratch *[]byte) (connect.Value, error) {
	if len(v) == 0 {
		return connect.Value{}, c.malformed()
	}
	const empty, lowerIn, upperIn, lowerInf, upperInf = 1, 2, 4, 8, 16
	flags, rest := v[0], v[1:]
	bad := false
	bound := func(b []byte) []byte {
		if len(rest) < 4 {
			bad = true
			return b
		}
		n := int(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		switch {
		case n == 4 && len(rest) >= 4:
			b = strconv.AppendInt(b, int64(int32(binary.BigEndian.Uint32(rest))), 10)
		case n == 8 && len(rest) >= 8:
			b = strconv.AppendInt(b, int64(binary.BigEndian.Uint64(rest)), 10)
		default:
			bad = true
			return b
		}
		rest = rest[n:]
		return b
	}
	text := keep(scratch, func(b []byte) []byte {
		if flags&empty != 0 {
			return append(b, "empty"...)
		}
		if flags&lowerIn != 0 {
			b = append(b, '[')
		} else {
			b = append(b, '(')
		}
		if flags&lowerInf == 0 {
			b = bound(b)
		}
		b = append(b, ',')
		if flags&upperInf == 0 {
			b = bound(b)
		}
		if flags&upperIn != 0 {
			return append(b, ']')
		}
		return append(b, ')')
	})
	if bad {
		return connect.Value{}, c.malformed()
	}
	return text, nil
}

// tsvector prints lexemes and positions as Postgres does.
func (c *column) tsvector(v []byte, scratch *[]byte) (connect.Value, error) {
	if len(v) < 4 {
		return connect.Value{}, c.malformed()
	}
	count, rest, bad := int(binary.BigEndian.Uint32(v)), v[4:], false
	text := keep(scratch, func(b []byte) []byte {
		for i := range count {
			end := bytes.IndexByte(rest, 0)
			if end < 0 || len(rest) < end+3 {
				bad = true
				return b
			}
			if i > 0 {
				b = append(b, ' ')
			}
			b = append(b, '\'')
			for _, char := range rest[:end] {
				if char == '\'' || char == '\\' {
					b = append(b, char)
				}
				b = append(b, char)
			}
			b = append(b, '\'')
			positions := int(binary.BigEndian.Uint16(rest[end+1:]))
			rest = rest[end+3:]
			if len(rest) < 2*positions {
				bad = true
				return b
			}
			for p := range positions {
				b = append(b, ":,"[min(p, 1)])
				word := binary.BigEndian.Uint16(rest[2*p:])
				b = strconv.AppendInt(b, int64(word&0x3fff), 10)
				if weight := word >> 14; weight > 0 { // D, the least, is not shown
					b = append(b, "DCBA"[weight])
				}
			}
			rest = rest[2*positions:]
		}
		return b
	})
	if bad {
		return connect.Value{}, c.malformed()
	}
	return text, nil
}

// array reads an array of one dimension. Of one with more, Debezium sends a null for
// each of the first.
func (c *column) array(v []byte, scratch *[]byte) (connect.Value, error) {
	if len(v) < 12 {
		return connect.Value{}, c.malformed()
	}
	dimensions := int(binary.BigEndian.Uint32(v))
	list := connect.Value{Kind: connect.ListKind}
	if dimensions == 0 {
		return list, nil
	}
	if dimensions < 0 || dimensions > 6 || len(v) < 12+8*dimensions {
		return connect.Value{}, c.malformed()
	}
	count := int(binary.BigEndian.Uint32(v[12:]))
	if count < 0 || count > len(v) {
		return connect.Value{}, c.malformed()
	}
	if dimensions > 1 {
		list.List = make([]connect.Value, count)
		return list, nil
	}
	v = v[12+8*dimensions:]
	digits := 0
	for range count {
		if len(v) < 4 {
			return connect.Value{}, c.malformed()
		}
		n := int(int32(binary.BigEndian.Uint32(v)))
		v = v[4:]
		if n < 0 {
			list.List = append(list.List, connect.Value{})
			continue
		}
		if n > len(v) {
			return connect.Value{}, c.malformed()
		}
		if c.elem.oid == pgtype.NumericOID {
			if h, ok := readNumericHeader(v[:n]); ok && !h.isSpecial() {
				digits += h.digits()
			}
			if digits > maxDigits {
				return connect.Value{}, &format.Fault{Reason: format.TooLarge, Detail: fmt.Sprintf("column %q: its numbers have more than %d digits", c.name, maxDigits)}
			}
		}
		e, err := c.elem.decode(v[:n], scratch)
		if err != nil {
			return connect.Value{}, err
		}
		list.List = append(list.List, e)
		v = v[n:]
	}
	return list, nil
}
