package consumers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/pgtext"
)

func TestMessageIDTellsIdsApart(t *testing.T) {
	t.Parallel()
	id := func(pairs ...string) string {
		var headers []Header
		for i := 0; i < len(pairs); i += 2 {
			headers = append(headers, Header{pairs[i], []byte(pairs[i+1])})
		}
		return MessageID("t", 1, 2, headers).String()
	}
	const plain = "0199ee00-0000-7000-8000-00000000000a"
	if id("id", plain) != plain || id("ce_id", plain) != plain {
		t.Error("a UUID is not kept")
	}
	if id("id", "urn:uuid:"+plain) == plain || id("id", "{"+plain+"}") == plain {
		t.Error("another form of a UUID is another raw id, yet it became the same event")
	}
	distinct := map[string]string{}
	for name, got := range map[string]string{"foreign": id("id", "17"), "other": id("id", "18"), "none": id(), "offset": MessageID("t", 1, 3, nil).String()} {
		if before, ok := distinct[got]; ok {
			t.Errorf("%s and %s have one id", name, before)
		}
		distinct[got] = name
	}
	if id("id", "17") != id("ce_id", "17") {
		t.Error("an id is not stable")
	}
}

// Whatever a record holds, it becomes a message, and its headers can be stored
// and read back.
func FuzzMessage(f *testing.F) {
	f.Add("id", []byte("0199ee00-0000-7000-8000-00000000000a"), "ce_type", []byte("OrderPlaced"))
	f.Add("", []byte(nil), "\x00\xff", []byte{0, 0xff})
	f.Fuzz(func(t *testing.T, name1 string, value1 []byte, name2 string, value2 []byte) {
		r := &kgo.Record{Topic: "t", Headers: []kgo.RecordHeader{{Key: name1, Value: value1}, {Key: name2, Value: value2}}}
		m := messageOf(r)
		var none [16]byte
		if m.ID == none {
			t.Error("a message without an id")
		}
		stored := encodeHeaders(m.Headers)
		if !json.Valid([]byte(stored)) || !utf8.ValidString(stored) || strings.Contains(stored, `\u0000`) {
			t.Fatalf("%q cannot be stored", stored)
		}
		got, err := DecodeHeaders([]byte(stored))
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range m.Headers {
			if got[i].Name != pgtext.Clean(h.Name) || !bytes.Equal(got[i].Value, h.Value) || (got[i].Value == nil) != (h.Value == nil) {
				t.Errorf("header %d is %+v, want %+v", i, got[i], h)
			}
		}
	})
}

// What another program wrote into the column is read or refused, never a panic.
func FuzzDecodeHeaders(f *testing.F) {
	for _, s := range []string{`[]`, `[["a","eA=="],["b",null]]`, `[["a"]]`, `[[null,null]]`, `{}`, `[["a","!"]]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		headers, err := DecodeHeaders(stored)
		if err != nil {
			return
		}
		again, err := DecodeHeaders([]byte(encodeHeaders(headers)))
		if err != nil || len(again) != len(headers) {
			t.Errorf("%q: %v", stored, err)
		}
	})
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	t.Parallel()
	for n := 1; n < 100; n++ {
		if d := backoff(againBase, againLimit, n); d < againBase/2 || d > againLimit {
			t.Errorf("pause %d is %s", n, d)
		}
	}
}

func TestTypeLabelsAreBounded(t *testing.T) {
	t.Parallel()
	all, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := all.of(Consumer{Name: "every"})
	labels := map[string]bool{}
	for i := range 1000 {
		labels[m.typeLabel(string(rune('a'+i%26))+string(rune('a'+i/26)))] = true
	}
	if len(labels) != maxTypes+1 || !labels["other"] {
		t.Errorf("%d labels", len(labels))
	}
	if known := all.of(Consumer{Name: "some", Types: []string{"A"}}); known.typeLabel("A") != "A" || known.typeLabel("B") != "other" {
		t.Error("a type that the consumer does not name has a label")
	}
}

func TestPoolMaxConnsOfTheURLWins(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]int32{
		"postgres://db/shop?pool_max_conns=2": 2,
		"host=db pool_max_conns=3":            3,
		"postgres://db/shop":                  102,
	} {
		c, err := poolConfig(url, 100)
		if err != nil {
			t.Fatal(err)
		}
		if c.MaxConns != want {
			t.Errorf("%s: at most %d connections, want %d", url, c.MaxConns, want)
		}
	}
}

// What a handler says of a failure may hold payload: log and status are no place
// for it.
func TestHandlersWordsStayOutOfLogAndStatus(t *testing.T) {
	t.Parallel()
	said := errors.New("card 4111")
	for _, c := range []struct {
		err  error
		want string
	}{
		{said, errWithheld.Error()},
		{Poison("card", said), errWithheld.Error()},
		{&pgconn.PgError{Code: "22P02", Message: "invalid input syntax: card 4111"}, errWithheld.Error()},
		{fmt.Errorf("card 4111: %w", &pgconn.PgError{Severity: "ERROR", Code: "42P01", Message: "no such table"}), "ERROR: no such table (SQLSTATE 42P01)"},
		{fmt.Errorf("card 4111: %w", &pgconn.PgError{Severity: "ERROR", Code: "40001", Message: "try again"}), "ERROR: try again (SQLSTATE 40001)"},
		{Unavailable(errors.New("provider is down")), "provider is down"},
		{&ownError{errors.New("claim batch: no")}, "claim batch: no"},
		{&lostError{errors.New("connect: no")}, "connect: no"},
	} {
		if got := public(c.err).Error(); got != c.want {
			t.Errorf("%v is told as %q, want %q", c.err, got, c.want)
		}
	}
}
