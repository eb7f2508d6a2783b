package verify

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// planted is one row or record of a history.
type planted struct {
	id      uuid.UUID
	key     string
	version int64
}

func (p planted) row() row {
	return row{id: p.id, aggregateType: "t", key: p.key, version: p.version, kind: "K", at: time.UnixMilli(1)}
}

func (p planted) record(offset int64) *kgo.Record {
	return &kgo.Record{Topic: "t", Key: []byte(p.key), Offset: offset, Timestamp: time.UnixMilli(1), Headers: []kgo.RecordHeader{
		{Key: "ce_sequence", Value: []byte(strconv.FormatInt(p.version, 10))},
		{Key: "ce_type", Value: []byte("K")},
		{Key: "id", Value: []byte(p.id.String())},
	}}
}

// TestLedgerAgreesWithACount plants rows, then a history in which some are lost,
// repeated, out of order or made up, and compares with a plain count over both
// lists.
func TestLedgerAgreesWithACount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.IntRange(1, 4).Draw(t, "keys")
		versions := make([]int64, keys)
		var rows, history []planted
		for i := range rapid.IntRange(0, 30).Draw(t, "rows") {
			k := rapid.IntRange(0, keys-1).Draw(t, "key")
			versions[k]++
			p := planted{uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i)), strconv.Itoa(k), versions[k]}
			rows = append(rows, p)
			if rapid.IntRange(0, 9).Draw(t, "lost") > 0 {
				history = append(history, p)
			}
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "phantoms") {
			p := planted{uuid.NewSHA1(uuid.Max, fmt.Append(nil, i)), "0", int64(100 + i)}
			history = append(history, p)
		}
		for range rapid.IntRange(0, 5).Draw(t, "moves") {
			if n := len(history); n > 0 {
				from, to := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
				if rapid.Bool().Draw(t, "repeat") {
					history = slices.Insert(history, to, history[from])
				} else {
					history[from], history[to] = history[to], history[from]
				}
			}
		}

		l := newLedger(1_000)
		for _, p := range rows {
			l.addRow("t", p.row())
		}
		for i, p := range history {
			l.addRecord(p.record(int64(i)), 0, 0)
		}

		for _, p := range rows {
			if got := l.find(p.id).state&inKafka != 0; got != slices.Contains(history, p) {
				t.Fatalf("%v: in Kafka %v", p, got)
			}
		}
		var repeats, inversions int64
		for i, p := range history {
			if slices.Contains(history[:i], p) {
				repeats++
				continue
			}
			if e := l.find(p.id); e == nil || (e.state&hasRow != 0) != slices.Contains(rows, p) {
				t.Fatalf("%v: has a row, or has none: %+v", p, e)
			}
			// Out of order: a higher version of its key came before.
			if slices.ContainsFunc(history[:i], func(q planted) bool { return q.key == p.key && q.version > p.version }) {
				inversions++
			}
		}
		if l.repeats != repeats || l.order.Broken != inversions || l.records != int64(len(history)) {
			t.Fatalf("repeats %d, want %d; inversions %d, want %d", l.repeats, repeats, l.order.Broken, inversions)
		}
		if l.order.Judged+l.repeats != l.records || len(l.order.Examples) != int(inversions) {
			t.Fatalf("judged %d, repeats %d, records %d", l.order.Judged, l.repeats, l.records)
		}
	})
}

func TestTwoRowsOfOneIDAreOneEvent(t *testing.T) {
	t.Parallel()
	l := newLedger(1)
	p := planted{uuid.New(), "k", 1}
	l.addRow("t", p.row())
	l.addRow("t", p.row())
	l.addRecord(p.record(0), 0, 0)
	if l.rows != 1 || l.find(p.id).state != hasRow|inKafka {
		t.Errorf("%d rows, %+v", l.rows, l.find(p.id))
	}
}

// FuzzRecord feeds the ledger records that anybody may have written: it must take
// them, count them, and call nothing a row's that is not.
func FuzzRecord(f *testing.F) {
	known := planted{uuid.MustParse("01a20724-8a8c-74f9-b69e-6997b22e0ce6"), "k", 1}
	f.Add("id", known.id.String(), "ce_sequence", "1", []byte("k"))
	f.Add("ce_id", "01A20724-8A8C-74F9-B69E-6997B22E0CE6", "ce_type", "K", []byte("k"))
	f.Add("id", "", "id", "{01a20724-8a8c-74f9-b69e-6997b22e0ce6}", []byte(nil))
	f.Add("ce_sequence", "99999999999999999999", "id", "x", []byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string, key []byte) {
		l := newLedger(10)
		l.addRow("t", known.row())
		r := &kgo.Record{Topic: "t", Key: key, Headers: []kgo.RecordHeader{{Key: name1, Value: []byte(value1)}, {Key: name2, Value: []byte(value2)}}}
		l.addRecord(r, 1, 1)
		l.addRecord(r, 1, 1)
		// Type, version and id do not fit into two headers.
		if l.find(known.id).state&inKafka != 0 {
			t.Errorf("%q=%q, %q=%q, key %q was taken for the row's record", name1, value1, name2, value2, key)
		}
		if l.records != 2 || l.repeats+l.phantom.Broken < 1 {
			t.Errorf("%d records, %d repeats, %d phantoms", l.records, l.repeats, l.phantom.Broken)
		}
	})
}
