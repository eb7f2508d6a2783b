package pgoutput_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/gapless/gapless/relay/pgoutput"
)

// wire builds messages the way the server does.
type wire []byte

func (w wire) u8(b byte) wire       { return append(w, b) }
func (w wire) u16(n uint16) wire    { return binary.BigEndian.AppendUint16(w, n) }
func (w wire) u32(n uint32) wire    { return binary.BigEndian.AppendUint32(w, n) }
func (w wire) u64(n uint64) wire    { return binary.BigEndian.AppendUint64(w, n) }
func (w wire) str(s string) wire    { return append(append(w, s...), 0) }
func (w wire) bytes(s string) wire  { return append(w.u32(uint32(len(s))), s...) }
func (w wire) binary(s string) wire { return w.u8('b').bytes(s) }
func (w wire) text(s string) wire   { return w.u8('t').bytes(s) }

func samples() map[string]wire {
	return map[string]wire{
		"begin":    wire{'B'}.u64(10).u64(20).u32(30),
		"commit":   wire{'C'}.u8(0).u64(10).u64(11).u64(20),
		"origin":   wire{'O'}.u64(10).str("upstream"),
		"relation": wire{'R'}.u32(7).str("gapless").str("outbox").u8('d').u16(2).u8(1).str("id").u32(2950).u32(0xffffffff).u8(0).str("payload").u32(17).u32(0xffffffff),
		"type":     wire{'Y'}.u32(99).str("public").str("mood"),
		"insert":   wire{'I'}.u32(7).u8('N').u16(4).binary("\x00\x01").u8('n').text("x").u8('u'),
		"update":   wire{'U'}.u32(7).u8('K').u16(1).binary("k").u8('N').u16(1).binary("v"),
		"update2":  wire{'U'}.u32(7).u8('N').u16(1).binary("v"),
		"delete":   wire{'D'}.u32(7).u8('O').u16(1).binary("k"),
		"truncate": wire{'T'}.u32(2).u8(3).u32(7).u32(8),
		"message":  wire{'M'}.u8(1).u64(10).str("outbox").bytes("{}"),
	}
}

func TestDecodeReadsEveryField(t *testing.T) {
	t.Parallel()
	var m pgoutput.Message
	decode := func(name string) *pgoutput.Message {
		t.Helper()
		if err := pgoutput.Decode(samples()[name], &m); err != nil {
			t.Fatal(err)
		}
		return &m
	}
	if got, want := decode("begin").Begin, (pgoutput.Begin{CommitLSN: 10, CommitTime: 20, XID: 30}); got != want {
		t.Errorf("begin = %+v, want %+v", got, want)
	}
	if got, want := decode("commit").Commit, (pgoutput.Commit{CommitLSN: 10, EndLSN: 11, CommitTime: 20}); got != want {
		t.Errorf("commit = %+v, want %+v", got, want)
	}
	if got := decode("origin").Origin; got.CommitLSN != 10 || string(got.Name) != "upstream" {
		t.Errorf("origin = %+v", got)
	}
	r := decode("relation").Relation
	if r.ID != 7 || string(r.Namespace) != "gapless" || string(r.Name) != "outbox" || r.Identity != 'd' || len(r.Columns) != 2 {
		t.Fatalf("relation = %+v", r)
	}
	if c := r.Columns[0]; !c.Key || string(c.Name) != "id" || c.TypeOID != 2950 || c.Modifier != -1 {
		t.Errorf("relation column = %+v", c)
	}
	if got := decode("type").Type; got.OID != 99 || string(got.Namespace) != "public" || string(got.Name) != "mood" {
		t.Errorf("type = %+v", got)
	}
	row := decode("insert").Row
	if got := fmt.Sprintf("%d %q", row.RelationID, row.New); got != `7 [{'b' "\x00\x01"} {'n' ""} {'t' "x"} {'u' ""}]` {
		t.Errorf("insert = %s", got)
	}
	row = decode("update").Row
	if row.OldKind != 'K' || string(row.Old[0].Value) != "k" || string(row.New[0].Value) != "v" {
		t.Errorf("update = %+v", row)
	}
	row = decode("update2").Row
	if row.OldKind != 0 || len(row.Old) != 0 || string(row.New[0].Value) != "v" {
		t.Errorf("update without old tuple = %+v", row)
	}
	row = decode("delete").Row
	if row.OldKind != 'O' || string(row.Old[0].Value) != "k" || len(row.New) != 0 {
		t.Errorf("delete = %+v", row)
	}
	if got := fmt.Sprint(decode("truncate").Truncate); got != "{true true [7 8]}" {
		t.Errorf("truncate = %s", got)
	}
	l := decode("message").Logical
	if !l.Transactional || l.LSN != 10 || string(l.Prefix) != "outbox" || string(l.Content) != "{}" {
		t.Errorf("message = %+v", l)
	}
}

// A message cut at any byte, or with a byte too many, must be an error: a
// prefix that decodes would be a row with columns missing.
func TestDecodeRefusesEveryCutAndEveryExtraByte(t *testing.T) {
	t.Parallel()
	var m pgoutput.Message
	for name, whole := range samples() {
		for n := range whole {
			if err := pgoutput.Decode(whole[:n], &m); err == nil {
				t.Errorf("%s cut to %d of %d bytes decoded", name, n, len(whole))
			}
		}
		if err := pgoutput.Decode(append(whole, 0), &m); err == nil {
			t.Errorf("%s with an extra byte decoded", name)
		}
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	var m pgoutput.Message
	for _, kind := range []byte("SEcAbPKrp?") { // protocols 2 to 4, and nonsense
		if err := pgoutput.Decode([]byte{kind, 0, 0}, &m); !errors.Is(err, pgoutput.ErrUnknown) {
			t.Errorf("kind %q: %v, want ErrUnknown", kind, err)
		}
	}
}

func TestDecodeAllocatesNothingPerRow(t *testing.T) {
	var m pgoutput.Message
	insert, begin, commit := samples()["insert"], samples()["begin"], samples()["commit"]
	allocs := testing.AllocsPerRun(100, func() {
		for _, b := range [...]wire{begin, insert, commit} {
			if err := pgoutput.Decode(b, &m); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a transaction, want 0", allocs)
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range samples() {
		f.Add([]byte(b))
	}
	var m pgoutput.Message
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		err := pgoutput.Decode(data, &m)
		if string(data) != before {
			t.Fatal("input was changed")
		}
		if err != nil {
			return
		}
		total := 0
		for _, c := range append(m.Row.Old, m.Row.New...) {
			total += len(c.Value)
		}
		if m.Kind == pgoutput.KindInsert && total > len(data) {
			t.Fatalf("%d value bytes out of %d", total, len(data))
		}
	})
}

func ExampleDecode() {
	var m pgoutput.Message // reused for every message of a stream
	if err := pgoutput.Decode(samples()["insert"], &m); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Kind, m.Row.RelationID, len(m.Row.New))
	// Output: insert 7 4
}
