package eventrouter

import (
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/gapless/gapless/relay/connect"
	"github.com/jackc/pgx/v5/pgtype"
)

// parse reads a value in its text form: a default, or a type without a binary form.
func (c *column) parse(text string) (connect.Value, error) {
	fail := func() (connect.Value, error) { return connect.Value{}, c.malformed() }
	if c.elem != nil {
		return fail()
	}
	switch c.oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.QCharOID, pgtype.JSONOID, pgtype.JSONBOID, pgtype.XMLOID, pgtype.UUIDOID, pgtype.InetOID, pgtype.CIDROID, pgtype.MacaddrOID:
		return connect.Text([]byte(text)), nil
	case pgtype.BoolOID:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fail()
		}
		return connect.Bool(b), nil
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fail()
		}
		return connect.Integer(n), nil
	case pgtype.Float4OID, pgtype.Float8OID:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fail()
		}
		kind := connect.DoubleKind
		if c.oid == pgtype.Float4OID {
			kind = connect.FloatKind
		}
		return connect.Value{Kind: kind, Float: f}, nil
	case pgtype.NumericOID:
		if strings.Trim(text, "-.0123456789") != "" { // an exponent could ask for any memory
			return fail()
		}
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			return fail()
		}
		_, scale, fixed := c.scale()
		if !fixed {
			return fail()
		}
		r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		return c.decimal(new(big.Int).Quo(r.Num(), r.Denom()), scale, new([]byte)), nil
	case pgtype.DateOID:
		t, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return fail()
		}
		return connect.Integer(floorDiv(t.Unix(), 86400)), nil
	case pgtype.TimestampOID:
		t, err := time.Parse("2006-01-02 15:04:05.999999", text)
		if err != nil {
			return fail()
		}
		return c.timestamp(t.UnixMicro() - epochMicros), nil
	}
	return fail()
}

// defaultOf reads what pg_get_expr prints of a column's default. nil is none. What
// is computed by a function has no constant to show: then it is the zero of its type,
// as Debezium has it.
func (c *column) defaultOf(expr string) *connect.Value {
	text, constant := literal(expr)
	if constant {
		if v, err := c.parse(text); err == nil {
			return &v
		}
		return nil
	}
	var v connect.Value
	switch c.oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID:
		v = connect.Text([]byte(expr))
	case pgtype.UUIDOID:
		v = connect.Text([]byte("00000000-0000-0000-0000-000000000000"))
	case pgtype.TimestamptzOID:
		v = connect.Text(appendTimestamptz(nil, -epochMicros, c.modifier))
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.TimestampOID, pgtype.DateOID, pgtype.TimeOID:
		v = connect.Integer(0)
	default:
		return nil
	}
	return &v
}

// literal reads 'text'::type, a number, true or false, as Debezium does: of a text
// only what is before its next quote, of an expression only its first text.
func literal(expr string) (string, bool) {
	if expr == "true" || expr == "false" {
		return expr, true
	}
	expr = strings.TrimLeft(expr, "(")
	if quoted, ok := strings.CutPrefix(expr, "'"); ok {
		text, _, ok := strings.Cut(quoted, "'")
		return text, ok
	}
	number := strings.TrimRight(expr, ")")
	_, err := strconv.ParseFloat(number, 64)
	return number, err == nil
}
