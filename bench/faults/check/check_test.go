package check_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/bench/faults/check"
	"github.com/gapless/gapless/relay/core"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(math.Round(seconds*1000)) * time.Millisecond)
}

const topic = "outbox.event.t"

func row(key string, version int64) check.Row {
	return check.Row{ID: fmt.Sprintf("%s-%d", key, version), Topic: topic, Key: key, Version: version}
}

// good is a run in which a relay is killed at 10 s and started again at 11 s. Its
// transactions are committed every second, the i-th at LSN 100*i, with one row each
// of keys a and b. Versions 9 and 10 come again.
func good() *check.History {
	h := &check.History{
		Fault:  check.Fault{Name: "kill", Seed: 7, Began: at(10), Healed: at(11)},
		Stored: map[string]bool{}, Parked: map[string]bool{},
		Streams: []check.Stream{{Relay: "a", Began: at(0), Resume: 50}, {Relay: "b", Began: at(11.1), Resume: 850}},
	}
	append1 := func(version int64, seconds float64) {
		for p, key := range []string{"a", "b"} {
			r := row(key, version)
			h.Records = append(h.Records, check.Record{
				Topic: topic, Partition: int32(p), Offset: int64(len(h.Records)), Appended: at(seconds),
				ID: r.ID, Key: key, Version: version, Commit: core.LSN(100 * version), Index: int64(p),
			})
		}
	}
	for v := int64(1); v <= 12; v++ {
		rows := []check.Row{row("a", v), row("b", v)}
		outcome := check.OK
		if v == 10 {
			outcome = check.Unknown
		}
		h.Txns = append(h.Txns, check.Txn{Began: at(float64(v) - .5), Ended: at(float64(v) - .1), Outcome: outcome, Rows: rows})
		for _, r := range rows {
			h.Stored[r.ID] = true
		}
		if v <= 10 {
			append1(v, float64(v)-.1)
		}
	}
	h.Txns = append(h.Txns,
		check.Txn{Began: at(5), Ended: at(5), Outcome: check.Fail, Rows: []check.Row{row("a", 100)}},
		check.Txn{Began: at(9), Ended: at(9), Outcome: check.Unknown, Rows: []check.Row{row("a", 101)}},
	)
	for v := int64(9); v <= 12; v++ {
		append1(v, 11.2+float64(v)/100)
	}
	return h
}

// record is the first of a row.
func record(h *check.History, id string) *check.Record {
	for i := range h.Records {
		if h.Records[i].ID == id {
			return &h.Records[i]
		}
	}
	panic("no record " + id)
}

func remove(h *check.History, id string) {
	var kept []check.Record
	for _, r := range h.Records {
		if r.ID != id {
			kept = append(kept, r)
		}
	}
	h.Records = kept
}

func TestGoodHistoryHolds(t *testing.T) {
	t.Parallel()
	v := check.Judge(good())
	if !v.Holds() || v.Rows != 24 || v.Records != 28 || v.Repeated != 4 {
		t.Errorf("%d rows, %d records, %d repeated: %q", v.Rows, v.Records, v.Repeated, v.Findings())
	}
	first, drained, ok := check.Recovery(good())
	if want := 310 * time.Millisecond; !ok || first != want {
		t.Errorf("first new record after %s (%t), want %s", first, ok, want)
	}
	if want := 310 * time.Millisecond; drained != want { // version 11 was committed before the healing, 12 after
		t.Errorf("drained after %s, want %s", drained, want)
	}
}

// Each planted breach is found, by its own checker and by no other.
func TestPlantedBreaches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		plant func(*check.History)
		want  string // field of Verdict
		says  string
		n     int
	}{
		{"a row is missing", func(h *check.History) { remove(h, "a-5") }, "Lost", "version 5 of key a", 1},
		{"the last row is missing", func(h *check.History) { remove(h, "b-12") }, "Lost", "version 12 of key b", 1},
		{"a row of an unknown transaction that is stored is missing", func(h *check.History) { remove(h, "a-10") }, "Lost", "version 10", 1},
		{"a rolled back row is there", func(h *check.History) {
			r := *record(h, "a-12")
			r.ID, r.Version, r.Offset, r.Index = "a-100", 100, 1000, 7
			h.Records = append(h.Records, r)
		}, "Phantoms", `outcome "fail"`, 1},
		{"a row of an unknown transaction that is not stored is there", func(h *check.History) {
			r := *record(h, "a-12")
			r.ID, r.Version, r.Offset, r.Index = "a-101", 101, 1000, 7
			h.Records = append(h.Records, r)
		}, "Phantoms", `outcome "unknown"`, 1},
		{"a record of no row", func(h *check.History) {
			r := *record(h, "a-12")
			r.ID, r.Version, r.Offset, r.Index = "stranger", 102, 1000, 7
			h.Records = append(h.Records, r)
		}, "Phantoms", `outcome ""`, 1},
		{"a record with another version", func(h *check.History) { record(h, "a-12").Version = 13 }, "Phantoms", "version 13 of key a", 1},
		{"a record under another topic", func(h *check.History) { record(h, "a-12").Topic = "other" }, "Phantoms", "for " + topic, 1},
		{"two versions change places", func(h *check.History) {
			a, b := record(h, "a-3"), record(h, "a-4")
			a.Offset, b.Offset = b.Offset, a.Offset
		}, "Inversions", "version 3 at offset", 1},
		{"an early one comes last", func(h *check.History) {
			record(h, "b-2").Offset = 1000
		}, "Inversions", "version 2", 1},
		{"versions are in order and commits are not", func(h *check.History) {
			record(h, "a-6").Commit = 10
		}, "Inversions", "version 6, committed at", 1},
		{"two rows of one commit are not in its order", func(h *check.History) {
			r := record(h, "a-6")
			r.Commit, r.Index = record(h, "a-5").Commit, -1
		}, "Inversions", "version 6, committed at", 1},
		{"a key is on two partitions", func(h *check.History) {
			record(h, "a-12").Partition = 2
		}, "Inversions", "partitions 0 and 2", 1},
		{"a repeat of what was stored", func(h *check.History) {
			h.Streams[1].Resume = 950 // version 9 was committed at 900
		}, "Repeats", "version 9 of key", 2},
		{"a repeat without a new stream", func(h *check.History) { h.Streams = h.Streams[:1] }, "Repeats", "no stream began", 4},
		{"a repeat before the new stream", func(h *check.History) { h.Streams[1].Began = at(20) }, "Repeats", "no stream began", 4},
		{"a new stream that began before the fault", func(h *check.History) { h.Streams[1].Began = at(9.5) }, "Repeats", "no stream began", 4},
		{"a repeat of what was there long before", func(h *check.History) {
			h.Streams[1].Resume = 50
			r := *record(h, "a-2")
			r.Offset, r.Appended = 1000, at(11.5)
			h.Records = append(h.Records, r)
		}, "Repeats", "before the fault", 1},
		{"a committed row is not in the database", func(h *check.History) { delete(h.Stored, "a-4") }, "Vanished", "1 of 2 rows", 1},
		{"half of an unknown transaction", func(h *check.History) {
			delete(h.Stored, "a-10")
			remove(h, "a-10")
		}, "Vanished", "end is unknown", 1},
		{"a rolled back row is in the database", func(h *check.History) { h.Stored["a-100"] = true }, "Vanished", "rolled back", 1},
		{"a row that nobody wrote", func(h *check.History) { h.Stored["stranger"] = true }, "Vanished", "nobody wrote", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := good()
			c.plant(h)
			v := check.Judge(h)
			if v.Holds() {
				t.Fatal("the breach was not found")
			}
			verdict := reflect.ValueOf(v)
			for i := range verdict.NumField() {
				list, ok := verdict.Field(i).Interface().([]check.Finding)
				if !ok {
					continue
				}
				if name := verdict.Type().Field(i).Name; name != c.want {
					if len(list) > 0 {
						t.Errorf("%s: %q", name, list)
					}
				} else if len(list) != c.n || !strings.Contains(string(list[0]), c.says) {
					t.Errorf("%s: %q, want %d with %q", name, list, c.n, c.says)
				}
			}
		})
	}
}

// What is allowed is not found.
func TestWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*check.History){
		"a parked row has no record": func(h *check.History) {
			remove(h, "a-5")
			h.Parked["a-5"] = true
		},
		"a parked row is sent after all": func(h *check.History) { h.Parked["a-5"] = true },
		"a stream that began from within": func(h *check.History) {
			h.Streams[1].Resume = 900 // at the commit of version 9, whose rows were half sent
		},
		"a zombie's records come behind the new owner's": func(h *check.History) {
			r := *record(h, "a-11")
			r.Offset, r.Appended = 1000, at(12)
			h.Records = append(h.Records, r)
		},
		"a topic that was made again begins at its beginning": func(h *check.History) {
			for i := range h.Records {
				if h.Records[i].Appended.After(at(11)) {
					h.Records[i].Remade, h.Records[i].Offset = 1, int64(i)-20
				}
			}
		},
	} {
		h := good()
		change(h)
		if v := check.Judge(h); !v.Holds() {
			t.Errorf("%s: %q", name, v.Findings())
		}
	}
}

// Where nothing had to be healed, what was on its way at the fault is no recovery.
func TestRecoveryByItself(t *testing.T) {
	t.Parallel()
	h := good()
	h.Fault.Healed = h.Fault.Began
	record(h, "a-10").Appended = at(10.01) // written before
	first, drained, ok := check.Recovery(h)
	if want := 1310 * time.Millisecond; !ok || first != want || drained != want {
		t.Errorf("first %s (%t), drained %s, want %s", first, ok, drained, want)
	}
}

func TestRecoveryOfNothing(t *testing.T) {
	t.Parallel()
	h := good()
	for _, id := range []string{"a-11", "a-12", "b-11", "b-12"} {
		remove(h, id)
	}
	if first, _, ok := check.Recovery(h); ok {
		t.Errorf("nothing new came, and yet the first did after %s", first)
	}
}

func TestHistoryIsReadAsWritten(t *testing.T) {
	t.Parallel()
	h := good()
	h.Parked["a-5"] = true
	var file bytes.Buffer
	if err := h.Write(&file); err != nil {
		t.Fatal(err)
	}
	again, err := check.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(h, again) {
		t.Errorf("read\n%+v\nwant\n%+v", again, h)
	}
}

func TestUnreadableHistory(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"{}", "{\"other\":1}", "x", `{"stored":"a"}` + "\n{"} {
		if h, err := check.Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %+v", text, h)
		}
	}
}
