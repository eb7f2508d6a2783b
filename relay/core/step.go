package core

import "time"

// Step tells what to do at now. Call it after each batch of input, and at the
// latest when Due says.
func (m *Machine) Step(now time.Duration) Effects {
	var e Effects
	if m.wantsWrite() && (m.finishing || now-m.lastWrite >= m.cfg.ProgressEvery) {
		m.writing, m.pending = true, m.done
		m.dirtyThen, m.dirty, m.wanted = m.dirty, false, false
		m.restating = m.restate
		m.proofWrite = m.proof != 0 && m.done.Resume >= m.proof
		m.lastWrite = now
		e.Write, e.Progress = true, m.pending
	}
	flush := max(m.flushable(), m.confirmed)
	since := now - m.lastStatus
	if m.reply || since >= m.cfg.StatusEvery || flush > m.confirmed && (m.finishing || since >= m.cfg.ProgressEvery) {
		m.reply, m.confirmed, m.lastStatus = false, flush, now
		e.Status, e.Flush = true, flush
	}
	return e
}

// wantsWrite: events are the reason to write (a write is WAL too). Besides
// them, one write that brings the record past a proof, one for each
// RecordAfter of foreign WAL, and one that is asked for.
func (m *Machine) wantsWrite() bool {
	if m.writing || m.done == m.written && !m.dirty && !m.restate && !m.proofDue() {
		return false
	}
	return m.dirty || m.wanted || m.restate || m.proofDue() || m.done.Resume-m.written.Resume >= m.cfg.RecordAfter
}

func (m *Machine) proofDue() bool {
	return m.proof != 0 && !m.proofInRec && m.ring.empty() && !m.inTx && m.done.Resume >= m.proof
}

// flushable is the highest LSN that the slot may be told.
func (m *Machine) flushable() LSN {
	if m.faults.confirmBeforeWrite {
		return m.done.Resume
	}
	if m.cfg.Recorded && !m.faults.passRecord || m.dirty || m.writing && m.dirtyThen || !m.proofInRec {
		return m.written.Resume
	}
	return m.done.Resume
}

// Written takes the outcome of the write that Step asked for. An unknown
// outcome is not ok: the same progress is written again.
func (m *Machine) Written(ok bool) {
	if !m.writing {
		return
	}
	m.writing = false
	if !ok {
		m.dirty = m.dirty || m.dirtyThen
		return
	}
	m.written = m.pending
	m.restate = m.restate && !m.restating
	m.proofInRec = m.proofInRec || m.proofWrite && m.proof != 0 && m.written.Resume >= m.proof
}

// Record asks for one write of the progress, also where no event is the reason: somebody
// waits for the record, and the slot, to pass what has come.
func (m *Machine) Record() { m.wanted = true }

// Restate asks for one write of the record, also where the position is the stored one: what
// stands beside it has changed.
func (m *Machine) Restate() { m.restate, m.restating = true, false }

// Activity numbers the moments between events: a proof asked for at one
// number and answered at the same saw every event.
func (m *Machine) Activity() uint64 { return m.activity }

// Unproven tells that the newest event is not covered by a proof, so that
// keepalives cannot move the slot.
func (m *Machine) Unproven() bool { return m.proof == 0 }

// Proof says that a snapshot was stored for the record which sees every row
// committed before lsn, and that its query was issued at activity. Stale ones
// are ignored.
func (m *Machine) Proof(activity uint64, lsn LSN) {
	if activity != m.activity || m.proof != 0 {
		return
	}
	m.proof = lsn
}

// Finish lets progress and status go out without waiting for their interval.
// Call it when no more input will come.
func (m *Machine) Finish() { m.finishing = true }

// Settled tells that nothing is in flight (what is held is not) and that the record
// and the slot hold all there is to say.
func (m *Machine) Settled() bool {
	return m.records == 0 && !m.writing && !m.dirty && m.confirmed >= m.flushable()
}

// Paused tells that enough is in flight, or known of behind what is held: read no
// further until Ack.
func (m *Machine) Paused() bool {
	return m.records >= m.cfg.MaxRecords || m.bytes >= m.cfg.MaxBytes || m.Full()
}

// Full tells that more is known of behind the oldest change that is not acknowledged
// than may be.
func (m *Machine) Full() bool {
	most := 2 * m.cfg.MaxRecords
	if m.held > 0 {
		most = max(most, m.cfg.MaxBehind)
	}
	return m.ring.tail-m.ring.head >= uint64(most)
}

// Due tells in how long Step has something to do if nothing comes in.
func (m *Machine) Due(now time.Duration) time.Duration {
	due := m.lastStatus + m.cfg.StatusEvery - now
	if m.wantsWrite() {
		due = min(due, m.lastWrite+m.cfg.ProgressEvery-now)
	}
	if m.flushable() > m.confirmed {
		due = min(due, m.lastStatus+m.cfg.ProgressEvery-now)
	}
	if m.writing || !m.ring.empty() {
		due = min(due, m.cfg.ProgressEvery)
	}
	return max(due, 0)
}

// InFlight gives records and bytes that are sent and not passed.
func (m *Machine) InFlight() (records int, bytes int64) { return m.records, m.bytes }

// Done is the position up to which everything is acknowledged.
func (m *Machine) Done() Position { return m.done }

// Stored is the position that the record holds.
func (m *Machine) Stored() Position { return m.written }

// Confirmed is the last LSN told to the slot.
func (m *Machine) Confirmed() LSN { return m.confirmed }

// Received is the newest end of WAL heard of.
func (m *Machine) Received() LSN { return m.received }
