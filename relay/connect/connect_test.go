package connect_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/gapless/gapless/relay/connect"
)

// What Java 21 prints; the corpus of package golden has more of them.
func TestNumbersAsJavaPrintsThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    float64
		want string
	}{
		{0, "0.0"},
		{math.Copysign(0, -1), "-0.0"},
		{1, "1.0"},
		{100, "100.0"},
		{0.001, "0.001"},
		{0.0009999, "9.999E-4"},
		{9999999, "9999999.0"},
		{1e7, "1.0E7"},
		{1.5e300, "1.5E300"},
		{4.9e-324, "4.9E-324"},
		{2e-323, "2.0E-323"},
		{1e21, "1.0E21"},
		{123456789.123456789, "1.2345678912345679E8"},
		{-12345678.9, "-1.23456789E7"},
		{math.Inf(-1), "-Infinity"},
		{math.NaN(), "NaN"},
	} {
		got := string(connect.AppendString(nil, nil, connect.Value{Kind: connect.DoubleKind, Float: c.f}))
		if got != c.want {
			t.Errorf("%v is %s, want %s", c.f, got, c.want)
		}
	}
	if got := string(connect.AppendString(nil, nil, connect.Value{Kind: connect.FloatKind, Float: float64(float32(1.1))})); got != "1.1" {
		t.Errorf("float 1.1 is %s", got)
	}
	for _, c := range []struct {
		unscaled int64
		scale    int32
		want     string
	}{{150, 2, "1.50"}, {-1, 2, "-0.01"}, {1, 7, "1E-7"}, {123, 9, "1.23E-7"}, {1, 6, "0.000001"}, {5, -3, "5E+3"}, {0, 2, "0.00"}, {12, 0, "12"}} {
		v := connect.Value{Kind: connect.DecimalKind, Unscaled: big.NewInt(c.unscaled), Scale: c.scale}
		if got := string(connect.AppendString(nil, nil, v)); got != c.want {
			t.Errorf("%d with scale %d is %s, want %s", c.unscaled, c.scale, got, c.want)
		}
	}
	for n, want := range map[int64]string{0: "\x00", 127: "\x7f", 128: "\x00\x80", 255: "\x00\xff", -1: "\xff", -128: "\x80", -129: "\xff\x7f", 1050: "\x04\x1a"} {
		if got := string(connect.AppendTwos(nil, big.NewInt(n))); got != want {
			t.Errorf("%d in two's complement is %x, want %x", n, got, want)
		}
	}
}

// An expansion is JSON, of the values that were there.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{
		`{"a": {"n": null, "s": "x", "e": []}, "arr": [{"q":1},{"p":2}], "n":[1,null]}`, `{"a":"\ud83d\u0001é😀"}`, `[1]`, `[]`, `{"a":[[1],[]],"a":2}`,
		`{"a":1e400,"b":-0,"c":9223372036854775808}`, `{"":1}`, `{"a":[{"x":{"y":1}},{"x":{"z":1}}]}`, `{"a":[{"x":1},{"x":"s"}]}`, "{\"\xff\":1}",
	} {
		f.Add([]byte(s), true, true)
		f.Add([]byte(s), false, false)
	}
	f.Fuzz(func(t *testing.T, text []byte, nulls, empties bool) {
		x := connect.Expander{NullAsBytes: nulls, EmptyAsString: empties, Named: true}
		for range 2 { // it is used again
			if x.Expand(text, "payload") != connect.Expanded {
				continue
			}
			if _, err := x.AppendString(nil); err != nil {
				continue
			}
			schema := x.AppendSchema(nil)
			out, err := x.AppendJSON(nil)
			if err != nil {
				continue
			}
			for _, b := range [][]byte{out, schema} {
				if !json.Valid(b) {
					t.Fatalf("%q became %q", text, b)
				}
			}
			again := connect.Expander{NullAsBytes: nulls, EmptyAsString: empties}
			if again.Expand(out, "payload") == connect.Expanded {
				if twice, err := again.AppendJSON(nil); err == nil && len(twice) > len(out) {
					t.Fatalf("%q became %q, and that %q", text, out, twice)
				}
			}
		}
	})
}

// Texts that would take gigabytes, or minutes: each is refused, and what follows it is
// expanded as ever.
func TestExpandIsBounded(t *testing.T) {
	objects := func(n int, each func(i int) string) string {
		var b strings.Builder
		b.WriteString(`{"a":[`)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(each(i))
		}
		return b.String() + `]}`
	}
	for name, text := range map[string]string{
		"values":              objects(300_000, func(int) string { return "1" }),
		"a name each":         objects(60_000, func(i int) string { return fmt.Sprintf(`{"f%d":1}`, i) }),
		"one that has all":    objects(20_000, func(i int) string { return `{` + strings.Repeat(`"x":1,`, min(i, 1)) + fmt.Sprintf(`"f%d":{}}`, i) }),
		"long names in depth": strings.Repeat(`{"`+strings.Repeat("n", 40_000)+`":`, 900) + "1" + strings.Repeat("}", 900),
	} {
		t.Run(name, func(t *testing.T) {
			x := connect.Expander{Named: true}
			outcome := x.Expand([]byte(text), "payload")
			if outcome == connect.Expanded {
				if _, err := x.AppendJSON(nil); !errors.Is(err, connect.ErrTooLarge) {
					t.Errorf("written as JSON: %v", err)
				}
				x.Expand([]byte(text), "payload")
				if _, err := x.AppendString(nil); !errors.Is(err, connect.ErrTooLarge) {
					t.Errorf("written as a string: %v", err)
				}
			} else if outcome != connect.TooLarge {
				t.Errorf("outcome %d", outcome)
			}
			if _, _, err := x.Object([]byte(text)); !errors.Is(err, connect.ErrTooLarge) {
				t.Errorf("as an object: %v", err)
			}
			if outcome := x.Expand([]byte(`{"a":1}`), "payload"); outcome != connect.Expanded {
				t.Errorf("the next text: outcome %d", outcome)
			}
		})
	}
}

// Large and alike is no reason to refuse.
func TestExpandTakesLargeTexts(t *testing.T) {
	var fields, rows strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&fields, `"f%d":%d,`, i, i)
	}
	for i := range 10_000 {
		fmt.Fprintf(&rows, `{"sku":"s","n":%d,"note":null,"x%d":1},`, i, i%7)
	}
	text := `{` + fields.String() + `"rows":[` + strings.TrimSuffix(rows.String(), ",") + `]}`
	var x connect.Expander
	if outcome := x.Expand([]byte(text), "payload"); outcome != connect.Expanded {
		t.Fatalf("outcome %d", outcome)
	}
	if out, err := x.AppendJSON(nil); err != nil || !json.Valid(out) {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func ExampleExpander() {
	var x connect.Expander // used again for each text
	if x.Expand([]byte(`{"b": 1.50, "gone": null, "a": {"n": [1, 2]}}`), "payload") == connect.Expanded {
		out, _ := x.AppendJSON(nil)
		fmt.Println(string(out))
	}
	// Output: {"b":1.5,"a":{"n":[1,2]}}
}

func BenchmarkExpand(b *testing.B) {
	text := []byte(`{"id":"0198c2f0-1234-7abc-8def-0123456789ab","customer_id":"c-1","currency":"USD","total_minor":12345,"items":[{"sku":"A-1","quantity":2,"price_minor":500},{"sku":"B-7","quantity":1,"price_minor":11345}],"shipping_address":{"line1":"1 Main St","city":"San Francisco","postal_code":"94107","country":"US"},"plan":"standard","note":null}`)
	var x connect.Expander
	var out []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		x.Expand(text, "payload")
		out, _ = x.AppendJSON(out[:0])
	}
}
