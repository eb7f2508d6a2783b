package kafkastate

import (
	"testing"
)

// apply takes entries over as if they had been read one after the other.
func applied(t *testing.T, entries ...Entry) *Slot {
	t.Helper()
	s := newSlot("shop")
	for i, e := range entries {
		value, err := e.encode()
		if err == nil {
			err = s.apply(e.key, value, int64(i))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Which of an operator's wish and a signal counts is told by their order in the topic,
// and an operator's pause ends by no signal of before it.
func TestWish(t *testing.T) {
	t.Parallel()
	pause := func(at uint64) Entry {
		return EntryOf("shop", Control{Paused: true, Actor: "a", Reason: "r", Wished: at})
	}
	resume := EntryOf("shop", Control{Actor: "a", Reason: "r", Wished: 9})
	signal := func(paused bool, at uint64) Entry {
		return EntryOf("shop", Signal{Paused: paused, LSN: at, Reason: "s"})
	}
	for name, c := range map[string]struct {
		entries []Entry
		why     string
	}{
		"nothing":                           {nil, ""},
		"pause":                             {[]Entry{pause(5)}, "a: r"},
		"pause, resume":                     {[]Entry{pause(5), resume}, ""},
		"pause, signal of after it":         {[]Entry{pause(5), signal(false, 6)}, ""},
		"pause, signal of before it":        {[]Entry{pause(5), signal(false, 4)}, "a: r"},
		"signal":                            {[]Entry{signal(true, 5)}, "gapless relay: s"},
		"signal, resume":                    {[]Entry{signal(true, 5), resume}, ""},
		"signals":                           {[]Entry{signal(true, 5), signal(false, 6)}, ""},
		"signal, then an operator's pause":  {[]Entry{signal(true, 5), pause(6)}, "a: r"},
		"an operator's pause, then signal":  {[]Entry{pause(4), signal(true, 5)}, "a: r"},
		"a resume by signal, then a pause":  {[]Entry{signal(false, 5), pause(6)}, "a: r"},
		"an operator's resume, then signal": {[]Entry{resume, signal(true, 10)}, "gapless relay: s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			paused, why := applied(t, c.entries...).Wish()
			if why != c.why || paused != (c.why != "") {
				t.Errorf("paused %v, why %q", paused, why)
			}
		})
	}
}

func row(t *testing.T, index int64, key, status string) Entry {
	t.Helper()
	e, err := RowEntry("shop", Place{"7", 1, 5, index}, Row{Table: "t", RowKey: &key, Value: []byte("v"), Blocks: true, Status: status, Reason: "r"}, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The position's passing takes away what is settled, and nothing that is open or that a
// request still counts.
func TestPassedMarks(t *testing.T) {
	t.Parallel()
	entries := []Entry{
		EntryOf("shop", Progress{}), row(t, 0, "a", Parked), row(t, 1, "a", Waiting), row(t, 2, "b", Parked),
		EntryOf("shop", Request{ID: 7, Action: ActionDiscard, Rows: []string{Place{"7", 1, 5, 0}.String(), Place{"7", 1, 5, 9}.String(), "nonsense"}}),
	}
	s := applied(t, entries...)
	for _, e := range s.Accept(7) {
		value, err := e.encode()
		if err == nil {
			err = s.apply(e.key, value, 10)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Passed(9, 10); len(got) != 0 {
		t.Errorf("%v would go while request 7 is open", got)
	}
	if next := s.Next([]int64{7}, 10, 1000); len(next) != 1 || next[0].At.Index != 1 {
		t.Errorf("next are %+v", next)
	}
	closing, keys := s.Finish([]int64{7}, s.Requests[7].At)
	if got := s.Outcome(7); got.Discarded != 1 || len(keys) != 1 || !keys[BlockKey("t", "a")] {
		t.Errorf("outcome %+v, keys %v", got, keys)
	}
	value, err := closing[0].encode()
	if err == nil {
		err = s.apply(closing[0].key, value, 11)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Passed(5, 10); len(got) != 0 {
		t.Errorf("%v would go before the position has passed them", got)
	}
	if got := s.Passed(6, 10); len(got) != 1 || got[0].key != "shop/mark/"+(Place{"7", 1, 5, 0}).String() || s.Open() != 2 {
		t.Errorf("passed are %v, %d open", got, s.Open())
	}
	if err := s.check(); err != nil {
		t.Error(err)
	}
}

// A zombie's progress that lands in spite of everything changes nothing.
func TestProgressOfAnEarlierIncarnation(t *testing.T) {
	t.Parallel()
	s := applied(t, EntryOf("shop", Progress{Incarnation: 2, Resume: "0/2"}), EntryOf("shop", Progress{Incarnation: 1, Resume: "0/9"}))
	if s.Progress.Resume != "0/2" {
		t.Errorf("%+v", s.Progress)
	}
}

func FuzzApply(f *testing.F) {
	f.Add("shop/row/1/0000000000000005/0", []byte(`{"v":1,"status":"parked"}`))
	f.Add("shop/request/1", []byte(`{"v":1,"id":1,"action":"redrive","rows":["1/5/0"]}`))
	f.Add("shop/progress", []byte(`{"v":1}`))
	f.Fuzz(func(_ *testing.T, key string, value []byte) {
		s := newSlot("shop")
		if s.apply(key, value, 1) != nil {
			return
		}
		_ = s.check()
		s.Wish()
		for _, id := range s.Unfinished() {
			s.Accept(id)
		}
	})
}
