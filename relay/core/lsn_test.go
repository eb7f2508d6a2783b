package core_test

import (
	"fmt"
	"testing"

	"github.com/gapless/gapless/relay/core"
)

func TestLSNText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]core.LSN{"0/0": 0, "0/16B3748": 0x16B3748, "FF/FFFFFFFF": 0xFFFFFFFFFF, "1A/0": 0x1A << 32} {
		got, err := core.ParseLSN(text)
		if err != nil || got != want {
			t.Errorf("parse %q = %d, %v; want %d", text, got, err, want)
		}
		if s := want.String(); s != text {
			t.Errorf("%d = %q, want %q", uint64(want), s, text)
		}
	}
	for _, text := range []string{"", "/", "0/", "/0", "1", "0/123456789", "g/0", "-1/0", "0/+1", "0/0/0"} {
		if l, err := core.ParseLSN(text); err == nil {
			t.Errorf("parse %q = %s, want an error", text, l)
		}
	}
}

func FuzzParseLSN(f *testing.F) {
	f.Add("0/16B3748")
	f.Add("ff/FFFFFFFF")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := core.ParseLSN(s)
		if err != nil {
			return
		}
		if again, err := core.ParseLSN(l.String()); err != nil || again != l {
			t.Errorf("%q: %s reads back as %s, %v", s, l, again, err)
		}
	})
}

func ExampleParseLSN() {
	l, _ := core.ParseLSN("0/16b3748")
	fmt.Println(l, uint64(l))
	// Output: 0/16B3748 23803720
}

func ExampleMachine() {
	m := core.New(core.Config{Position: core.Position{Resume: 0x100}, Confirmed: 0x100}, 0)
	_ = m.Begin(0x200, 0)      // the server sends a transaction
	_, skip, _ := m.Change()   // with one change
	seq := m.Track(512)        // which goes to the sink
	_ = m.Commit(0x200, 0x230) // and is complete
	m.Ack(seq)                 // the sink has it
	effects := m.Step(1e9)     // what now?
	m.Written(true)            // the record is stored
	fmt.Println(skip, effects.Write, effects.Progress.Resume)
	fmt.Println(m.Step(2e9).Flush)
	// Output:
	// false true 0/230
	// 0/230
}
