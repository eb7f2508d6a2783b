package core

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// The model: a server with a log and a slot, a sink with partitions, a
// database with one progress record, and a driver that connects them to a
// Machine in every order that chance allows. Each breach of a promise is an
// error from the call in which it happened.

type row struct {
	key, version int // version grows per key in commit order
	routed       bool
}

type txn struct {
	commit, end LSN
	rows        []row
}

func (t txn) routed() bool {
	for _, r := range t.rows {
		if r.routed {
			return true
		}
	}
	return false
}

type modelServer struct {
	log       []txn
	wal       LSN
	versions  map[int]int
	confirmed LSN
	older     []LSN // every flush it was told: what a crash may go back to

	// the open stream
	next, at int // txn, and message in it: 0 begin, 1..n rows, n+1 commit
}

func (s *modelServer) commit(rng *rand.Rand) {
	t := txn{commit: s.wal + LSN(rng.IntN(3))}
	for range 1 + rng.IntN(4)*rng.IntN(4) {
		r := row{key: rng.IntN(6), routed: rng.IntN(4) > 0}
		if r.routed {
			s.versions[r.key]++
			r.version = s.versions[r.key]
		}
		t.rows = append(t.rows, r)
	}
	t.end = t.commit + 1 + LSN(rng.IntN(100))
	s.wal = t.end
	s.log = append(s.log, t)
}

// start honours a position above confirmed_flush, as Postgres does.
func (s *modelServer) start(at LSN) {
	at = max(at, s.confirmed)
	s.next, s.at = 0, 0
	for s.next < len(s.log) && s.log[s.next].commit < at {
		s.next++
	}
}

func (s *modelServer) crash(rng *rand.Rand) {
	s.confirmed = s.older[rng.IntN(len(s.older))]
}

// sentEnd is an honest keepalive: nothing before it is unsent.
func (s *modelServer) sentEnd() LSN {
	if s.next < len(s.log) {
		return s.log[s.next].commit
	}
	return s.wal
}

type sent struct {
	seq uint64
	row row
	at  Point
}

type modelSink struct {
	queues    [][]sent // per partition, in order
	unacked   []sent   // delivered; their acks come in any order
	delivered map[row]bool
	newest    map[int]int
}

func (s *modelSink) deliver(p int) error {
	q := s.queues[p]
	if len(q) == 0 {
		return nil
	}
	r := q[0].row
	s.queues[p] = q[1:]
	s.unacked = append(s.unacked, q[0])
	if s.delivered[r] {
		return nil
	}
	if want := s.newest[r.key] + 1; r.version != want {
		return fmt.Errorf("key %d: first occurrence of version %d, want %d", r.key, r.version, want)
	}
	s.newest[r.key] = r.version
	s.delivered[r] = true
	return nil
}

type proof struct {
	lsn LSN
}

type model struct {
	rng    *rand.Rand
	server modelServer
	sink   modelSink
	faults faults

	recorded bool // no change is seen by proofs

	record   Position
	proofs   []proof // stored with the record
	write    *Position
	taken    *proof // query in flight, with the activity it was asked at
	asked    uint64
	answered []proof // go into the next record

	m     *Machine
	now   time.Duration
	acked map[Point]bool // by machines of this process, and not passed when it last began a stream

	crashes, skipped, partials, lies, past int

	away          [partitions]bool // a topic that takes nothing
	holds, rejoin int
}

const partitions = 3

func newModel(seed uint64, f faults) *model {
	w := &model{
		rng:      rand.New(rand.NewPCG(seed, 0)),
		faults:   f,
		server:   modelServer{wal: 100, versions: map[int]int{}, confirmed: 100, older: []LSN{100}},
		sink:     modelSink{queues: make([][]sent, partitions), delivered: map[row]bool{}, newest: map[int]int{}},
		record:   Position{Resume: 100},
		acked:    map[Point]bool{},
		recorded: seed%4 == 0,
	}
	w.connect()
	return w
}

func (w *model) connect(ahead ...Point) {
	w.server.start(w.record.Resume)
	w.m = New(Config{
		Position: w.record, Confirmed: w.server.confirmed, Ahead: ahead, MaxRecords: 8, MaxBehind: 60, RecordAfter: 300, Recorded: w.recorded,
	}, w.now)
	w.m.faults = w.faults
}

// crash of the relay: what it had queued may or may not arrive, what it was
// writing may or may not be stored.
func (w *model) crash() error {
	w.crashes++
	return w.restart(false)
}

// heal brings back what was away: the relay begins a new stream, and remembers what it
// saw acknowledged.
func (w *model) heal() error {
	w.rejoin++
	w.away = [partitions]bool{}
	return w.restart(true)
}

func (w *model) restart(isSameProcess bool) error {
	for p := range w.sink.queues {
		for range w.rng.IntN(len(w.sink.queues[p]) + 1) {
			if err := w.sink.deliver(p); err != nil {
				return err
			}
		}
		w.sink.queues[p] = nil
	}
	var ahead []Point
	if isSameProcess {
		ahead = w.m.Ahead()
		for p := range w.acked {
			if !w.m.Passed(p) && !slices.Contains(ahead, p) {
				return fmt.Errorf("change %d of transaction %s was acknowledged, and is not known to be", p.Index, p.Commit)
			}
		}
	}
	clear(w.acked)
	for _, p := range ahead {
		w.acked[p] = true
	}
	w.sink.unacked = nil
	if w.write != nil && w.rng.IntN(2) == 0 {
		if err := w.store(); err != nil {
			return err
		}
	}
	w.write, w.taken, w.answered = nil, nil, nil
	if w.rng.IntN(3) == 0 {
		w.server.crash(w.rng)
	}
	if w.record.PartialCommit != 0 {
		w.partials++
	}
	w.connect(ahead...)
	return nil
}

func (w *model) store() error {
	if err := w.safe(*w.write); err != nil {
		return fmt.Errorf("store %v: %w", *w.write, err)
	}
	if a, b := w.record, *w.write; cmp.Or(cmp.Compare(a.Resume, b.Resume), cmp.Compare(a.PartialCommit, b.PartialCommit), cmp.Compare(a.PartialIndex, b.PartialIndex)) > 0 {
		return fmt.Errorf("the record goes back from %v to %v", a, b)
	}
	w.record = *w.write
	w.proofs = append(w.proofs, w.answered...)
	w.answered = nil
	return nil
}

// safe: a new run that starts from p would miss nothing.
func (w *model) safe(p Position) error {
	for _, t := range w.server.log {
		for i, r := range t.rows {
			if !r.routed || w.sink.delivered[r] {
				continue
			}
			if t.commit < p.Resume || t.commit == p.PartialCommit && int64(i) < p.PartialIndex {
				return fmt.Errorf("row %d of transaction %s is not acknowledged", i, t.commit)
			}
		}
	}
	return nil
}

// confirm checks what the slot is told against sink, record and proofs.
func (w *model) confirm(flush LSN) error {
	if flush == 0 {
		return errors.New("flush is 0")
	}
	if err := w.safe(Position{Resume: flush}); err != nil {
		return fmt.Errorf("confirm %s: %w", flush, err)
	}
	for _, t := range w.server.log {
		if t.routed() && t.commit < flush && t.commit >= w.record.Resume {
			return fmt.Errorf("confirm %s: transaction %s is not in the record %s", flush, t.commit, w.record.Resume)
		}
	}
	if w.recorded && flush > w.record.Resume {
		return fmt.Errorf("confirm %s past record %s, which no proof covers", flush, w.record.Resume)
	}
	if flush > w.record.Resume && flush > w.server.confirmed && !w.proven() {
		return fmt.Errorf("confirm %s past record %s without a proof", flush, w.record.Resume)
	}
	if flush > w.record.Resume {
		w.past++
	}
	w.server.confirmed = max(w.server.confirmed, flush)
	w.server.older = append(w.server.older, flush)
	return nil
}

// proven: a proof that the record has passed sees every event before it.
func (w *model) proven() bool {
	var newest LSN
	for _, p := range w.proofs {
		if p.lsn <= w.record.Resume {
			newest = max(newest, p.lsn)
		}
	}
	for _, t := range w.server.log {
		if t.routed() && t.commit < w.record.Resume && t.end > newest {
			return false
		}
	}
	return newest > 0
}

func (w *model) receive() error {
	s := &w.server
	if s.next == len(s.log) || w.m.Paused() {
		return nil
	}
	t := s.log[s.next]
	s.at++
	switch {
	case s.at == 1:
		return w.m.Begin(t.commit, 0)
	case s.at <= len(t.rows)+1:
		r := t.rows[s.at-2]
		index, skip, err := w.m.Change()
		if err != nil {
			return err
		}
		if skip {
			w.skipped++
		}
		if r.routed && !skip {
			seq := w.m.Track(10)
			p := r.key % partitions
			if w.away[p] {
				w.holds++
				w.m.Hold(seq)
				return nil
			}
			w.sink.queues[p] = append(w.sink.queues[p], sent{seq, r, Point{t.commit, index}})
		}
		return nil
	}
	s.next, s.at = s.next+1, 0
	return w.m.Commit(t.commit, t.end)
}

func (w *model) keepalive() {
	end := w.server.sentEnd()
	if w.server.at > 0 || w.m.partial.PartialCommit != 0 {
		// Mid transaction, or with a part of one outstanding, it may claim
		// anything.
		end = w.server.wal + LSN(w.rng.IntN(100))
		w.lies++
	}
	w.m.Keepalive(end, w.rng.IntN(3) == 0)
}

func (w *model) ack(i int) {
	u := w.sink.unacked
	w.m.Ack(u[i].seq)
	w.acked[u[i].at] = true
	w.sink.unacked = append(u[:i], u[i+1:]...)
}

func (w *model) step() error {
	e := w.m.Step(w.now)
	if e.Write {
		if w.write != nil {
			return errors.New("second write while one runs")
		}
		w.write = &e.Progress
	}
	if e.Status {
		if err := w.confirm(e.Flush); err != nil {
			return err
		}
	}
	records, bytes := w.m.InFlight()
	if records > 8 || bytes > 80 {
		return fmt.Errorf("%d records, %d bytes in flight", records, bytes)
	}
	return nil
}

func (w *model) written() error {
	if w.write == nil {
		return nil
	}
	applied, answered := w.rng.IntN(5) > 0, w.rng.IntN(5) > 0
	if applied {
		if err := w.store(); err != nil {
			return err
		}
	}
	w.write = nil
	w.m.Written(applied && answered)
	return nil
}

func (w *model) prove() {
	if w.taken == nil {
		w.taken, w.asked = &proof{lsn: w.server.wal}, w.m.Activity()
		return
	}
	w.m.Proof(w.asked, w.taken.lsn)
	w.answered = append(w.answered, *w.taken)
	w.taken = nil
}

// chance does one random thing.
func (w *model) chance() error {
	w.now += time.Duration(w.rng.IntN(30)) * time.Millisecond
	switch n := w.rng.IntN(100); {
	case n < 6:
		w.server.commit(w.rng)
	case n < 9:
		w.server.wal += LSN(w.rng.IntN(400))
	case n < 42:
		return w.receive()
	case n < 58:
		return w.sink.deliver(w.rng.IntN(partitions))
	case n < 73:
		if len(w.sink.unacked) > 0 {
			w.ack(w.rng.IntN(len(w.sink.unacked)))
		}
	case n < 79:
		switch w.rng.IntN(8) {
		case 0, 1:
			w.m.Record()
		case 2:
			w.m.Restate()
		}
		w.keepalive()
	case n < 89:
		return w.step()
	case n < 93:
		return w.written()
	case n < 98:
		w.prove()
	case n < 99:
		if w.rng.IntN(2) == 0 {
			return w.crash()
		}
	default:
		if w.away == [partitions]bool{} {
			// What it has is delivered or not, and nothing more is taken.
			p := w.rng.IntN(partitions)
			w.away[p] = true
			w.sink.queues[p] = nil
			return w.restart(true)
		}
		return w.heal()
	}
	return nil
}

// drain heals everything and waits for quiet.
func (w *model) drain() error {
	if err := w.heal(); err != nil {
		return err
	}
	for range 100_000 {
		if w.server.next == len(w.server.log) && w.server.at == 0 && w.m.Settled() {
			return w.safe(Position{Resume: w.server.wal})
		}
		w.now += 100 * time.Millisecond
		if err := w.receive(); err != nil {
			return err
		}
		for p := range w.sink.queues {
			if err := w.sink.deliver(p); err != nil {
				return err
			}
		}
		for len(w.sink.unacked) > 0 {
			w.ack(w.rng.IntN(len(w.sink.unacked)))
		}
		if err := w.step(); err != nil {
			return err
		}
		if err := w.written(); err != nil {
			return err
		}
	}
	return fmt.Errorf("never settled: done %v, stored %v", w.m.Done(), w.m.Stored())
}

// run plays one history. The same seed gives the same one.
func run(seed uint64, f faults) (*model, error) {
	w := newModel(seed, f)
	for range steps {
		if err := w.chance(); err != nil {
			return w, err
		}
	}
	return w, w.drain()
}
