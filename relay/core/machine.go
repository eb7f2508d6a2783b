package core

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrProtocol is wrapped by errors about messages in an order that a server
// does not send. The stream cannot be trusted any more.
var ErrProtocol = errors.New("replication protocol violated")

// Machine is the state of one stream. It is for one goroutine.
type Machine struct {
	cfg  Config
	ring ring

	inTx      bool
	commit    LSN   // of the open transaction
	at        int64 // when that was committed
	index     int64 // changes received of it
	skip      int64 // changes of it that an earlier run relayed
	records   int   // in flight
	bytes     int64 // in flight
	held      int   // neither in flight nor acknowledged
	ahead     []Point
	received  LSN // newest end of WAL seen
	done      Position
	dirty     bool // done passed an event that the record does not hold
	partial   Position
	written   Position // what the record holds
	writing   bool
	pending   Position // what the running write stores
	dirtyThen bool     // an event was passed while the write ran
	wanted    bool     // somebody waits for the record to hold what is done
	restate   bool     // the record is to be written in any case
	restating bool     // by the write that is under way
	lastWrite time.Duration
	finishing bool

	confirmed  LSN // last flush sent
	lastStatus time.Duration
	reply      bool

	activity   uint64 // changes received, to date a proof
	proof      LSN    // taken after the last event; 0 when there is none
	proofInRec bool   // the record holds it and has passed it
	proofWrite bool   // the running write stores it

	faults faults
}

// faults plants a bug, so that tests can prove that the checker sees it.
type faults struct {
	ackOnReceive       bool
	confirmInTx        bool
	anyOrder           bool
	resumeAtCommit     bool
	confirmBeforeWrite bool
	holdIsAck          bool
	aheadOfAll         bool
	forgetAhead        bool
	passRecord         bool
}

// New returns a machine at the stored position. now is the driver's clock, as
// in every other call: any origin, never backwards.
func New(cfg Config, now time.Duration) *Machine {
	cfg = cfg.withDefaults()
	m := &Machine{
		cfg:        cfg,
		ring:       newRing(2*cfg.MaxRecords + 2),
		done:       cfg.Position,
		partial:    cfg.Position,
		written:    cfg.Position,
		confirmed:  cfg.Confirmed,
		ahead:      cfg.Ahead,
		received:   cfg.Position.Resume,
		lastStatus: now,
		lastWrite:  now - cfg.ProgressEvery,
	}
	return m
}

// Begin opens the transaction whose commit record is at commit. at is when it
// was committed, by any clock: Oldest gives it back.
func (m *Machine) Begin(commit LSN, at int64) error {
	if m.inTx {
		return fmt.Errorf("begin %s inside transaction %s: %w", commit, m.commit, ErrProtocol)
	}
	m.inTx, m.commit, m.at, m.index, m.skip = true, commit, at, 0, 0
	switch {
	case commit < m.partial.Resume:
		m.skip = math.MaxInt64 // complete in an earlier run; the server went back
	case m.partial.PartialCommit != 0 && commit == m.partial.PartialCommit:
		m.skip = m.partial.PartialIndex
	}
	return nil
}

// Change counts a change of the open transaction and gives its index there.
// When skip is true an earlier run has relayed it.
func (m *Machine) Change() (index int64, skip bool, err error) {
	if !m.inTx {
		return 0, false, fmt.Errorf("change outside a transaction: %w", ErrProtocol)
	}
	index = m.index
	m.index++
	if index < m.skip {
		return index, true, nil
	}
	return index, m.isAhead(Point{m.commit, index}), nil
}

// Next is the index of the open transaction's next change.
func (m *Machine) Next() int64 { return m.index }

// isAhead tells whether an earlier stream saw the change acknowledged, and then
// counts it as such.
func (m *Machine) isAhead(p Point) bool {
	for len(m.ahead) > 0 && m.ahead[0].before(p) {
		m.ahead = m.ahead[1:]
	}
	if len(m.ahead) == 0 || m.ahead[0] != p {
		return false
	}
	m.ahead = m.ahead[1:]
	m.event()
	m.ring.push(entry{lsn: p.Commit, index: p.Index, at: m.at, acked: true})
	m.advance()
	return true
}

// event: no proof of before covers what comes now.
func (m *Machine) event() {
	m.activity++
	m.proof, m.proofInRec = 0, false
}

// Track puts the change just counted in flight, with the memory it holds, and
// gives the number to call Ack with. A change that is not routed is not
// tracked.
func (m *Machine) Track(size int) (seq uint64) {
	m.event()
	m.records++
	m.bytes += int64(size)
	seq = m.ring.push(entry{lsn: m.commit, index: m.index - 1, at: m.at, size: int64(size)})
	if m.faults.ackOnReceive {
		m.Ack(seq)
	}
	return seq
}

// Commit closes the open transaction; end is the first byte after its commit
// record.
func (m *Machine) Commit(commit, end LSN) error {
	if !m.inTx || commit != m.commit {
		return fmt.Errorf("commit %s in transaction %s: %w", commit, m.commit, ErrProtocol)
	}
	m.inTx = false
	m.received = max(m.received, end)
	if m.commit < m.partial.Resume {
		return nil
	}
	if m.partial.PartialCommit != 0 && m.commit >= m.partial.PartialCommit {
		m.partial.PartialCommit = 0
	}
	if m.ring.empty() {
		m.complete(end)
		return nil
	}
	// Transactions without a routed change fold into the commit before them:
	// the ring stays bounded by the records in flight.
	if last := m.ring.at(m.ring.tail - 1); last.index == commitEntry {
		last.lsn = end
		return nil
	}
	m.ring.push(entry{lsn: end, index: commitEntry, acked: true})
	return nil
}

// Keepalive takes the server's end of WAL. reply asks for an answer at once.
func (m *Machine) Keepalive(end LSN, reply bool) {
	m.reply = m.reply || reply
	m.received = max(m.received, end)
	idle := !m.inTx && m.ring.empty() && m.partial.PartialCommit == 0
	if (idle || m.faults.confirmInTx) && end > m.done.Resume {
		m.done = Position{Resume: end}
	}
}

// Ack takes the sink's acknowledgement of seq, in any order. One that is not
// in flight is ignored.
func (m *Machine) Ack(seq uint64) {
	if seq-m.ring.head >= m.ring.tail-m.ring.head {
		return
	}
	e := m.ring.at(seq)
	if e.acked {
		return
	}
	e.acked = true
	if e.held {
		m.held--
	} else {
		m.records--
		m.bytes -= e.size
	}
	if m.faults.anyOrder {
		m.pass(*e)
	}
	m.advance()
}

// advance passes what is acknowledged at the ring's head.
func (m *Machine) advance() {
	for !m.ring.empty() {
		head := m.ring.at(m.ring.head)
		if !head.acked {
			return
		}
		m.ring.head++
		m.pass(*head)
	}
}

// Hold says that seq, which is in flight, is not: the sink would not take it now. Its
// memory counts no more, only its place is kept, and the position stays before it.
// Other changes go on. Only a new stream, from the position, has it sent.
func (m *Machine) Hold(seq uint64) {
	if seq-m.ring.head >= m.ring.tail-m.ring.head {
		return
	}
	e := m.ring.at(seq)
	if e.acked || e.held {
		return
	}
	if m.faults.holdIsAck {
		m.Ack(seq)
		return
	}
	e.held = true
	m.held++
	m.records--
	m.bytes -= e.size
}

// Held is how many changes are held.
func (m *Machine) Held() int { return m.held }

// Ahead lists what is acknowledged after the position, for the next stream of this
// process to skip: else each hold, and each failure of the sink, would repeat it. What
// was known before and has not come yet is still known: this stream may be the shorter.
func (m *Machine) Ahead() []Point {
	var points []Point
	for seq := m.ring.head; seq != m.ring.tail; seq++ {
		if e := m.ring.at(seq); e.index != commitEntry && (e.acked || m.faults.aheadOfAll) {
			points = append(points, Point{e.lsn, e.index})
		}
	}
	if m.faults.forgetAhead {
		return points
	}
	return append(points, m.ahead...)
}

// Passed tells whether everything up to and including the change is acknowledged.
func (m *Machine) Passed(p Point) bool {
	return p.Commit < m.done.Resume || p.Commit == m.done.PartialCommit && p.Index < m.done.PartialIndex
}

// Oldest is when the oldest change in flight was committed; ok is false when
// none is.
func (m *Machine) Oldest() (at int64, ok bool) {
	if m.ring.empty() {
		return 0, false
	}
	return m.ring.at(m.ring.head).at, true // never a commit: those are passed at once
}

func (m *Machine) pass(e entry) {
	if e.index == commitEntry {
		m.complete(e.lsn)
		return
	}
	m.dirty = true
	if m.faults.resumeAtCommit {
		m.done = Position{Resume: e.lsn + 1}
		return
	}
	m.done.PartialCommit, m.done.PartialIndex = e.lsn, e.index+1
}

func (m *Machine) complete(end LSN) {
	if m.done.PartialCommit != 0 && m.done.PartialCommit >= end {
		m.done.Resume = end // the partial transaction is yet to come again
		return
	}
	if m.done.PartialCommit != 0 {
		m.dirty = true // the record may say partial
	}
	m.done = Position{Resume: end}
}
