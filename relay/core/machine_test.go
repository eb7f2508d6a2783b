package core

import (
	"errors"
	"flag"
	"slices"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("core.seed", 0, "replay this seed of the interleaving test alone")

const (
	seeds = 3000
	steps = 600
)

func TestInterleavingsLoseNothing(t *testing.T) {
	t.Parallel()
	first, last := uint64(1), uint64(seeds)
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	var crashes, skipped, partials, lies, pastRecord int
	for seed := first; seed <= last; seed++ {
		w, err := run(seed, faults{})
		if err != nil {
			t.Fatalf("replay with -run %s -core.seed %d: %v", t.Name(), seed, err)
		}
		crashes, skipped, partials, lies = crashes+w.crashes, skipped+w.skipped, partials+w.partials, lies+w.lies
		pastRecord += w.past
	}
	if *seedFlag != 0 {
		return
	}
	// The faults must have fired, else the run proves nothing.
	for name, n := range map[string]int{
		"crashes": crashes, "changes skipped after a restart": skipped, "restarts in mid transaction": partials,
		"lying keepalives": lies, "slots moved past the record by keepalives": pastRecord,
	} {
		if n < 20 {
			t.Errorf("%d %s in %d seeds: the model does not reach that state", n, name, seeds)
		}
	}
}

// Each planted bug must be seen: a checker that never says no proves nothing.
func TestCheckerSeesEveryMutant(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]faults{
		"a held change counts as acknowledged":            {holdIsAck: true},
		"what is in flight counts as ahead":               {aheadOfAll: true},
		"what was ahead before is forgotten":              {forgetAhead: true},
		"acknowledge on receive":                          {ackOnReceive: true},
		"confirm on a keepalive in mid transaction":       {confirmInTx: true},
		"drop contiguity":                                 {anyOrder: true},
		"resume at the commit's end in mid transaction":   {resumeAtCommit: true},
		"confirm to the slot before the record is stored": {confirmBeforeWrite: true},
		"pass a record that no proof covers":              {passRecord: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= seeds; seed++ {
				if _, err := run(seed, f); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("not seen in %d seeds", seeds)
		})
	}
}

func TestSeedReplays(t *testing.T) {
	t.Parallel()
	a, errA := run(7, faults{anyOrder: true})
	b, errB := run(7, faults{anyOrder: true})
	if a.now != b.now || len(a.server.log) != len(b.server.log) || (errA == nil) != (errB == nil) ||
		errA != nil && errA.Error() != errB.Error() {
		t.Errorf("one seed, two histories: %v and %v", errA, errB)
	}
}

func machine(t *testing.T, p Position) *Machine {
	t.Helper()
	return New(Config{Position: p, Confirmed: p.Resume}, 0)
}

func feed(t *testing.T, m *Machine, end LSN, rows int) (seqs []uint64) {
	t.Helper()
	const commit = 20
	if err := m.Begin(commit, 0); err != nil {
		t.Fatal(err)
	}
	for range rows {
		_, skip, err := m.Change()
		if err != nil {
			t.Fatal(err)
		}
		if !skip {
			seqs = append(seqs, m.Track(1))
		}
	}
	if end != 0 {
		if err := m.Commit(commit, end); err != nil {
			t.Fatal(err)
		}
	}
	return seqs
}

func TestProgressThenSlot(t *testing.T) {
	t.Parallel()
	m := machine(t, Position{Resume: 10})
	seqs := feed(t, m, 30, 1)
	m.Ack(seqs[0])
	e := m.Step(time.Second)
	if !e.Write || e.Progress != (Position{Resume: 30}) || e.Status && e.Flush != 10 {
		t.Fatalf("after the ack: %+v, want a write of 30 and no flush past 10", e)
	}
	m.Keepalive(40, true)
	if e = m.Step(2 * time.Second); !e.Status || e.Flush != 10 || e.Write {
		t.Fatalf("asked while the write runs: %+v, want flush 10", e)
	}
	m.Written(true)
	if e = m.Step(3 * time.Second); !e.Status || e.Flush != 30 {
		t.Fatalf("after the write: %+v, want flush 30", e)
	}
}

func TestPartialTransactionResumes(t *testing.T) {
	t.Parallel()
	m := machine(t, Position{Resume: 10})
	seqs := feed(t, m, 0, 3)
	m.Ack(seqs[1]) // out of order: moves nothing
	m.Ack(seqs[0])
	if got, want := m.Done(), (Position{Resume: 10, PartialCommit: 20, PartialIndex: 2}); got != want {
		t.Fatalf("done = %v, want %v", got, want)
	}
	m = machine(t, m.Done())
	m.Keepalive(99, false)
	if got := m.Done().Resume; got != 10 {
		t.Fatalf("a keepalive moved a partial position to %s", got)
	}
	if seqs = feed(t, m, 30, 3); len(seqs) != 1 {
		t.Fatalf("%d changes after the restart, want the third alone", len(seqs))
	}
	m.Ack(seqs[0])
	if got, want := m.Done(), (Position{Resume: 30}); got != want {
		t.Fatalf("done = %v, want %v", got, want)
	}
}

// A record that was stored between the last acknowledgement of a transaction and its end
// says partial: the end is stored, too, so that a relay that was stopped in good order
// leaves nothing for the slot to send again.
func TestEndOfAStoredTransactionIsStored(t *testing.T) {
	t.Parallel()
	m := machine(t, Position{Resume: 10})
	m.Ack(feed(t, m, 0, 1)[0])
	partial := m.Step(time.Second)
	if want := (Position{Resume: 10, PartialCommit: 20, PartialIndex: 1}); !partial.Write || partial.Progress != want {
		t.Fatalf("%+v, want %+v written", partial, want)
	}
	m.Written(true)
	if err := m.Commit(20, 30); err != nil {
		t.Fatal(err)
	}
	m.Finish()
	if m.Settled() {
		t.Error("settled, and the record still says partial")
	}
	end := m.Step(2 * time.Second)
	if want := (Position{Resume: 30}); !end.Write || end.Progress != want || end.Status && end.Flush != 10 {
		t.Fatalf("%+v, want %+v written, and the slot at 10 until then", end, want)
	}
	m.Written(true)
	if last := m.Step(3 * time.Second); last.Flush != 30 || !m.Settled() {
		t.Errorf("%+v, want the slot told 30", last)
	}
}

func TestKeepalivesAloneWriteOncePerSegment(t *testing.T) {
	t.Parallel()
	m := machine(t, Position{Resume: 10})
	m.Proof(m.Activity(), 15)
	writes := 0
	var flush LSN
	now := time.Duration(0)
	for lsn := LSN(1 << 10); lsn <= 64<<20; lsn += 64 << 10 {
		now += time.Second
		m.Keepalive(lsn, true)
		e := m.Step(now)
		if e.Write {
			writes++
			m.Written(true)
		}
		flush = max(flush, e.Flush)
	}
	if writes < 3 || writes > 5 {
		t.Errorf("%d writes for 64 MiB of foreign WAL, want about 4", writes)
	}
	if flush < 63<<20 {
		t.Errorf("slot was moved to %s only", flush)
	}
}

func TestUnprovenKeepaliveDoesNotPassTheRecord(t *testing.T) {
	t.Parallel()
	m := machine(t, Position{Resume: 10})
	m.Keepalive(1000, true)
	if e := m.Step(0); !e.Status || e.Flush != 10 {
		t.Errorf("%+v, want flush 10", e)
	}
	if !m.Unproven() {
		t.Error("nobody is told that a proof is wanted")
	}
}

// Somebody waits for the record, and nothing but a keepalive comes.
func TestRecordOnRequest(t *testing.T) {
	t.Parallel()
	m := machine(t, Position{Resume: 10})
	for range 2 { // nothing to write at the first
		m.Record()
		if e := m.Step(time.Second); e.Write {
			t.Errorf("%+v is what the record holds", e)
		}
	}
	m.Keepalive(1000, false)
	if e := m.Step(2 * time.Second); !e.Write || e.Progress.Resume != 1000 {
		t.Fatalf("%+v, want a write of 1000", e)
	}
	m.Written(true)
	m.Keepalive(2000, false)
	if e := m.Step(3 * time.Second); e.Write || e.Flush > 1000 {
		t.Errorf("%+v, and nobody asked", e)
	}
}

// What stands beside the position is written though nothing has moved, until a write that
// began after it was asked for has succeeded.
func TestRestate(t *testing.T) {
	t.Parallel()
	m := machine(t, Position{Resume: 10})
	writes := func(second int, want bool) {
		t.Helper()
		if e := m.Step(time.Duration(second) * time.Second); e.Write != want || want && e.Progress.Resume != 10 {
			t.Fatalf("at %d: %+v, want a write: %v", second, e, want)
		}
	}
	writes(1, false)
	m.Restate()
	writes(2, true)
	m.Written(false)
	writes(3, true)
	m.Restate() // what is under way may not have it
	m.Written(true)
	writes(4, true)
	m.Written(true)
	writes(5, false)
}

func TestPausedByRecordsAndBytes(t *testing.T) {
	t.Parallel()
	m := New(Config{Position: Position{Resume: 1}, MaxRecords: 2, MaxBytes: 100}, 0)
	seqs := feed(t, m, 30, 2)
	if !m.Paused() {
		t.Error("not paused at the limit of records")
	}
	m.Ack(seqs[0])
	if m.Paused() {
		t.Error("paused below the limit")
	}
	if err := m.Begin(40, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Change(); err != nil {
		t.Fatal(err)
	}
	m.Track(500)
	m.Ack(seqs[1])
	if !m.Paused() {
		t.Error("not paused at the limit of bytes")
	}
}

func TestMessagesOutOfOrderAreErrors(t *testing.T) {
	t.Parallel()
	m := machine(t, Position{Resume: 1})
	if _, _, err := m.Change(); !errors.Is(err, ErrProtocol) {
		t.Errorf("change before begin: %v", err)
	}
	if err := m.Commit(5, 6); !errors.Is(err, ErrProtocol) {
		t.Errorf("commit before begin: %v", err)
	}
	if err := m.Begin(5, 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Begin(5, 0); !errors.Is(err, ErrProtocol) {
		t.Errorf("begin in begin: %v", err)
	}
	if err := m.Commit(7, 8); !errors.Is(err, ErrProtocol) {
		t.Errorf("commit of another transaction: %v", err)
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	m := machine(t, Position{Resume: 1})
	lsn := LSN(10)
	allocs := testing.AllocsPerRun(1000, func() {
		_ = m.Begin(lsn, 0)
		_, _, _ = m.Change()
		seq := m.Track(100)
		_ = m.Commit(lsn, lsn+5)
		m.Ack(seq)
		_ = m.Step(time.Duration(lsn))
		m.Written(true)
		lsn += 10
	})
	if allocs != 0 {
		t.Errorf("%v allocations an event, want 0", allocs)
	}
}

func BenchmarkEvent(b *testing.B) {
	m := New(Config{Position: Position{Resume: 1}}, 0)
	lsn := LSN(10)
	for b.Loop() {
		_ = m.Begin(lsn, 0)
		_, _, _ = m.Change()
		seq := m.Track(100)
		_ = m.Commit(lsn, lsn+5)
		m.Ack(seq)
		lsn += 10
	}
}

// The oldest in flight is the head of the stream, whatever came back first.
func TestOldest(t *testing.T) {
	t.Parallel()
	m := New(Config{Position: Position{Resume: 1}, Confirmed: 1}, 0)
	oldest := func(want int64, inFlight bool) {
		t.Helper()
		if at, ok := m.Oldest(); ok != inFlight || ok && at != want {
			t.Errorf("oldest %d, %v; want %d, %v", at, ok, want, inFlight)
		}
	}
	oldest(0, false)
	var seqs []uint64
	for i := range 3 {
		lsn := LSN(10 * (i + 1))
		if err := m.Begin(lsn, int64(100+i)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := m.Change(); err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, m.Track(1))
		if err := m.Commit(lsn, lsn+5); err != nil {
			t.Fatal(err)
		}
	}
	oldest(100, true)
	m.Ack(seqs[1])
	oldest(100, true)
	m.Ack(seqs[0])
	oldest(102, true)
	m.Ack(seqs[2])
	oldest(0, false)
}

// A stream that ends before it has come as far as the one before it: what that saw
// acknowledged is still known.
func TestAheadOutlivesAShorterStream(t *testing.T) {
	t.Parallel()
	ahead := []Point{{Commit: 20, Index: 1}, {Commit: 30, Index: 0}, {Commit: 40, Index: 0}}
	m := New(Config{Position: Position{Resume: 10}, Confirmed: 10, Ahead: ahead}, 0)
	seqs := feed(t, m, 0, 2)
	if len(seqs) != 1 {
		t.Fatalf("%d changes to send, want the first alone", len(seqs))
	}
	m.Hold(seqs[0])
	if got := m.Ahead(); !slices.Equal(got, ahead) {
		t.Errorf("known %v, want %v", got, ahead)
	}
}
