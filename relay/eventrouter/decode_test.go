package eventrouter

import (
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/gapless/gapless/relay/connect"
	"github.com/gapless/gapless/relay/format"
)

func numeric(weight, scale int, groups ...uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(groups)))
	b = binary.BigEndian.AppendUint16(b, uint16(weight))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(scale))
	for _, g := range groups {
		b = binary.BigEndian.AppendUint16(b, g)
	}
	return b
}

func numericColumn(d Decimals) *column {
	c := &column{name: "n", oid: pgtype.NumericOID, modifier: -1, decimals: d}
	c.define(format.Attribute{})
	return c
}

func TestNumerics(t *testing.T) {
	t.Parallel()
	many := make([]uint16, 200)
	for i := range many {
		many[i] = uint16(i * 37 % 10000)
	}
	many[0] = 12
	var text strings.Builder
	text.WriteString("12")
	for _, g := range many[1:] {
		four := "000" + big.NewInt(int64(g)).String()
		text.WriteString(four[len(four)-4:])
	}
	for name, c := range map[string]struct {
		value []byte
		want  string
	}{
		"none":            {numeric(0, 2), "0.00"},
		"a word":          {numeric(1, 4, 12, 3456, 7800), "123456.7800"},
		"a hidden digit":  {numeric(0, 1, 1, 2500), "1.2"},
		"below one":       {numeric(-2, 9, 12), "0.000000120"},
		"four groups":     {numeric(3, 0, 9999, 9999, 9999, 9999), "9999999999999999"},
		"many groups":     {numeric(199, 0, many...), text.String()},
		"behind no group": {numeric(2, 0, 7), "700000000"},
	} {
		var scratch []byte
		v, err := numericColumn(StringDecimals).numeric(c.value, &scratch)
		if err != nil || string(v.Text) != c.want {
			t.Errorf("%s: %s, %v, want %s", name, v.Text, err, c.want)
		}
	}
	for _, bad := range [][]byte{nil, numeric(0, 0, 10000), numeric(0, 0, 0, 0, 0, 0, 65535), numeric(0, -1), numeric(0, 0, 1)[:9], append(numeric(0, 0), 0, 0)} {
		if v, err := numericColumn(StringDecimals).numeric(bad, new([]byte)); err == nil {
			t.Errorf("%x is %+v", bad, v)
		}
	}
}

// round(1e131071::numeric, 16383) has 147,455 digits in ten bytes. Nothing is done for each
// of them, and of an array only so many are taken.
func TestNumericsThatExpand(t *testing.T) { // it counts allocations: not in parallel
	giant := numeric(32767, 16383, 1000)
	power := powerOfTen(131071)
	for _, d := range []Decimals{PreciseDecimals, StringDecimals, DoubleDecimals} {
		c := numericColumn(d)
		scratch := make([]byte, 0, 1<<20)
		var v connect.Value
		allocations := testing.AllocsPerRun(1, func() {
			var err error
			if v, err = c.numeric(giant, &scratch); err != nil {
				t.Fatal(err)
			}
		})
		if allocations > 200 {
			t.Errorf("%q: %.0f allocations", d, allocations)
		}
		switch d {
		case StringDecimals:
			if want := power.String() + "." + strings.Repeat("0", 16383); string(v.Text) != want {
				t.Error("its text is another")
			}
		case PreciseDecimals:
			if got := new(big.Int).SetBytes(v.List[1].Text); got.Cmp(power) != 0 || v.List[0].Int != 0 {
				t.Errorf("scale %d, %d bits", v.List[0].Int, got.BitLen())
			}
		}
	}
	array := binary.BigEndian.AppendUint32(nil, 1) // dimensions
	array = binary.BigEndian.AppendUint32(array, 0)
	array = binary.BigEndian.AppendUint32(array, pgtype.NumericOID)
	array = binary.BigEndian.AppendUint32(array, 100)
	array = binary.BigEndian.AppendUint32(array, 1)
	for range 100 {
		array = append(binary.BigEndian.AppendUint32(array, uint32(len(giant))), giant...)
	}
	c := &column{name: "n", oid: pgtype.NumericArrayOID, modifier: -1}
	c.define(format.Attribute{})
	_, err := c.decode(array, new([]byte))
	if fault, ok := errors.AsType[*format.Fault](err); !ok || fault.Reason != format.TooLarge {
		t.Errorf("an array of 14 million digits: %v", err)
	}
}
