package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// FuzzDecodeOrder holds the decoder against encoding/json: what is taken means
// the same to both, survives being written again, and can be stored.
func FuzzDecodeOrder(f *testing.F) {
	for _, seed := range []string{
		`{"customer_id":"c-1","currency":"USD","items":[{"sku":"A-1","quantity":2}],"shipping_address":{"line1":"1 Main St","city":"X","postal_code":"94107","country":"US"},"payment_token":"tok_ok","plan":"standard"}`,
		`{"customer_id":"\ud83d\ude00","currency":"EUR","items":[{"quantity":10000,"sku":"\\"}],"shipping_address":{"line1":"a","line2":"","region":"r","city":"X","postal_code":"1","country":"DE"},"payment_token":"t"}`,
		`{"a":{"a":[[[{}]]]},"a":1}`, `{"customer_id":"\ud800"}`, `[1e999,-0,1.5]`, "\xff", `{"customer_id":"\u0000"}`, `{} {}`, `"\\ud800"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := decodeOrder(body)
		if err != nil {
			if p := problemOf(err); p.kind != kindMalformed && p.kind != kindInvalid {
				t.Fatalf("a body made a problem of kind %s", p.kind.name)
			}
			return
		}
		var lax PlaceOrder
		if err := json.Unmarshal(body, &lax); err != nil {
			t.Fatalf("taken, but no JSON: %v", err)
		}
		if lax.Plan == nil {
			lax.Plan = new(Standard)
		}
		mine, err := requestHash(o)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := requestHash(&lax)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mine, theirs) {
			t.Fatalf("read as %+v, encoding/json reads %+v", o, lax)
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(`\u0000`)) || !utf8.Valid(text) {
			t.Fatalf("took what Postgres does not: %s", text)
		}
		again, err := decodeOrder(text)
		if err != nil {
			t.Fatalf("does not take its own writing: %v", err)
		}
		if h, _ := requestHash(again); !bytes.Equal(h, mine) {
			t.Fatal("its own writing has another hash")
		}
	})
}

func FuzzParseIdempotencyKey(f *testing.F) {
	for _, seed := range []string{`abc`, `"abc"`, `"a\"b"`, `"a\\"`, `"a\`, `""`, ` x `, "\x7f", strings.Repeat("k", 256), `"a"b"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		key, err := parseIdempotencyKey(value)
		if err != nil {
			return
		}
		if len(key) < 1 || len(key) > maxKeyLength || strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			t.Fatalf("took %q", key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := parseIdempotencyKey(quoted); err != nil || again != key {
			t.Fatalf("%q quoted is %q, %v", key, again, err)
		}
	})
}

func FuzzTraceParent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Fuzz(func(t *testing.T, value string) {
		if validTraceParent(value) && (len(Trace{Parent: value}.ID()) != 32 || !utf8.ValidString(value) || strings.ContainsRune(value, 0)) {
			t.Fatalf("took %q", value)
		}
	})
}

func FuzzPreferWait(f *testing.F) {
	for _, seed := range []string{"wait=5", "respond-async, wait=99;x=1", "wait", `WAIT="3"`, "wait=-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if d := parsePreferWait(&value); d < 0 || d > maxWait {
			t.Fatalf("%q waits %s", value, d)
		}
	})
}

// What counts as "nothing was written" is what a client may take for an
// invitation to use another key. The list is law.
func TestNothingWrittenIsSaidOnlyWhenCertain(t *testing.T) {
	t.Parallel()
	pg := func(severity, code string) error {
		return &pgconn.PgError{SeverityUnlocalized: severity, Code: code}
	}
	for _, c := range []struct {
		name  string
		err   error
		index int
		want  bool
	}{
		{"refused before commit", pg("ERROR", "23514"), 4, true},
		{"ended before commit", pg("FATAL", "57P01"), 4, true},
		{"refused at commit", pg("ERROR", "23503"), 6, true},
		{"ended at commit", pg("FATAL", "57P01"), 6, false},
		{"panic at commit", pg("PANIC", "XX000"), 6, false},
		{"connection lost early", errors.New("unexpected EOF"), 0, false},
		{"connection lost at commit", errors.New("unexpected EOF"), 6, false},
	} {
		if got := nothingWritten(c.err, c.index, 6); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
