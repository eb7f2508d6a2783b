package relay

import (
	"context"
	"errors"
	"time"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/core"
)

// worker runs the statements of a session one after the other, on a goroutine
// of its own: the one that reads the stream never waits for a commit.
type worker struct {
	jobs   chan func(context.Context)
	done   chan struct{}
	cancel context.CancelFunc // ends the running job
	busy   bool               // one job is out
	given  [kinds]uint64      // when a job of the kind was last handed over, in handings over
	count  uint64
	kind   kind                 // of the job that was handed over last
	failed bool                 // it did
	fails  [kinds]int           // one after the other
	errors [kinds]error         // the newest of them
	again  [kinds]time.Duration // not before
	save   func(context.Context)
	fatal  error // ends the session
}

func (w *worker) start(ctx context.Context) {
	w.jobs, w.done = make(chan func(context.Context), 1), make(chan struct{})
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer close(w.done)
		for job := range w.jobs {
			job(ctx)
		}
	}()
}

// stop returns when the running job has ended. Each is bounded, most by storeTimeout;
// grace after ctx has ended it is cut short.
func (w *worker) stop(ctx context.Context, grace time.Duration) {
	defer w.cancel()
	close(w.jobs)
	select {
	case <-w.done:
		return
	case <-ctx.Done():
	}
	defer time.AfterFunc(grace, w.cancel).Stop()
	<-w.done
}

func (w *worker) queueSave(f func(context.Context)) { w.save = f }

// do hands over a job of the kind. Call it only when not busy.
func (w *worker) do(k kind, job func(context.Context)) {
	w.busy, w.kind, w.failed = true, k, false
	w.count++
	w.given[k] = w.count
	w.jobs <- job
}

// wants is what the session asks the database for from time to time.
type wants struct {
	proofEvery time.Duration
	lastProof  time.Duration
	lastLook   time.Duration
	lastAsk    time.Duration
	looked     bool
	proved     uint64 // activity at the newest proof
	first      bool
	horizon    horizon
}

// quiet is how long after the newest event a proof is taken that lets
// keepalives move the slot: time for its commit to become visible.
const quiet = time.Second

// lookEvery is how often publication and figures are read.
const lookEvery = 10 * time.Second

func newWants(cfg Config) wants { return wants{proofEvery: cfg.ProofEvery, first: true} }

func (w *wants) proof(s *session, now time.Duration) bool {
	if w.first {
		return true
	}
	if s.machine.Activity() != w.proved && now-w.lastProof >= w.proofEvery {
		return true
	}
	records, _ := s.machine.InFlight()
	return s.machine.Unproven() && records == 0 && now-s.lastSend >= quiet && now-w.lastProof >= w.horizon.pause()
}

func (w *wants) control(now time.Duration) bool { return now-w.lastAsk >= controlEvery }

func (w *wants) look(now time.Duration) bool { return !w.looked || now-w.lastLook >= lookEvery }

// due bounds the wait for the next thing wanted.
func (w *wants) due(s *session, now time.Duration) time.Duration {
	again := &s.worker.again
	look, ask := max(w.lastLook+lookEvery, again[kindLook]), max(w.lastAsk+controlEvery, again[kindControl])
	due := max(min(look, ask)-now, 0)
	if s.machine.Unproven() {
		due = min(due, max(quiet-(now-s.lastSend), w.horizon.pause()-(now-w.lastProof), 50*time.Millisecond))
	}
	switch { // an outcome does not wake the goroutine while it waits for the server
	case s.redriving() && now >= s.worker.again[kindRedrive]:
		due = 2 * time.Millisecond // one job follows the other
	case s.worker.busy:
		due = 50 * time.Millisecond
	}
	return due
}

// kind of job.
type kind int

const (
	kindRedrive kind = iota
	kindPark
	kindSave
	kindControl
	kindSignal
	kindProve
	kindLook
	kindKeep
	kinds
)

// failsAfter is how often a job fails before it is said that nothing moves.
const failsAfter = 4

// stuck is why what must be stored cannot be; nil when it can.
func (w *worker) stuck() error {
	for k := range kindControl {
		if w.fails[k] >= failsAfter {
			return w.errors[k]
		}
	}
	return nil
}

// jobs hands the worker what is to be done.
func (s *session) jobs(now time.Duration) { s.hand(now, kinds) }

// saves is jobs without what nobody needs any more when a stream ends.
func (s *session) saves(now time.Duration) { s.hand(now, kindControl) }

// hand gives the worker a job of the kinds below one, of those with something to do the
// one that has waited longest: rows of a hot key that come to be parked without end must
// hold up neither progress nor the operator who wants the key redriven.
func (s *session) hand(now time.Duration, below kind) {
	if s.worker.busy {
		return
	}
	if !s.worker.failed {
		s.worker.fails[s.worker.kind] = 0
	}
	next := below
	for k := range below {
		if now >= s.worker.again[k] && s.ready(k, now) && (next == below || s.worker.given[k] < s.worker.given[next]) {
			next = k
		}
	}
	if next != below {
		s.worker.do(next, s.job(next, now))
	}
}

// ready tells whether there is something of the kind to do.
func (s *session) ready(k kind, now time.Duration) bool {
	switch k {
	case kindRedrive:
		d := &s.redrive
		return d.flying == 0 && s.redriving()
	case kindPark:
		return len(s.parking) > 0 && (!s.redrive.last || !s.redriving())
	case kindSave:
		return s.worker.save != nil
	case kindControl:
		return s.want.control(now)
	case kindSignal:
		return s.signals.pending != nil && (s.signals.tried == 0 || now-s.signals.tried >= signalAgain)
	case kindProve:
		return s.want.proof(s, now)
	case kindLook:
		return s.want.look(now)
	default:
		return !time.Now().Before(s.r.keepAt)
	}
}

// job is the next one of the kind, which is ready.
func (s *session) job(k kind, now time.Duration) func(context.Context) {
	switch k {
	case kindRedrive:
		return s.redriveJob()
	case kindPark:
		return s.storeParked()
	case kindSave:
		save := s.worker.save
		s.worker.save = nil
		return save
	case kindControl:
		s.want.lastAsk = now
		return s.control
	case kindSignal:
		return s.executeSignal(now)
	case kindProve:
		return s.prove(now)
	case kindLook:
		s.want.lastLook, s.want.looked = now, true
		return s.look
	default:
		s.r.keepAt = time.Now().Add(keepEvery)
		return s.keepPartitions
	}
}

// failed judges a job's error: most pass by themselves and the job comes again, after a
// pause that grows to five seconds.
func (s *session) failed(err error) {
	w := &s.worker
	pause := jitter(min(5*time.Second, 50*time.Millisecond<<min(w.fails[w.kind], 8)))
	w.failed = true
	w.fails[w.kind]++
	w.errors[w.kind] = err
	w.again[w.kind] = s.now() + pause
	if _, ok := errors.AsType[*Refusal](err); ok || errors.Is(err, errFenced) || shuttingDown(err) {
		s.worker.fatal = err
		return
	}
	s.r.log.Warn("statement failed, trying again", "error", err, "pause", pause)
}

func (s *session) save(p core.Position) func(context.Context) {
	v := save{
		incarnation: s.incarnation, position: p, proofs: s.proofs, events: s.saving, lastCommit: s.lastCommit,
	}
	if n := len(s.proofs); n > 0 {
		v.fingerprint = s.proofs[n-1].Fingerprint
	}
	return func(ctx context.Context) {
		err := s.r.remembered().save(ctx, v)
		if err == nil {
			crashpoint.Hit("relay.after_store")
		}
		s.inbox.result(func() {
			s.worker.busy = false
			s.machine.Written(err == nil)
			if err == nil {
				s.r.metrics.progressWrites.WithLabelValues("stored").Inc()
				return
			}
			s.events += v.events
			s.r.metrics.progressWrites.WithLabelValues("failed").Inc()
			s.failed(err)
		})
	}
}

func (s *session) prove(now time.Duration) func(context.Context) {
	activity := s.machine.Activity()
	s.want.lastProof, s.want.first = now, false
	return func(ctx context.Context) {
		p, err := s.r.store.prove(ctx, s.system.ID, s.system.Timeline, time.Now())
		var lsn core.LSN
		if err == nil {
			lsn, err = core.ParseLSN(p.LSN)
		}
		s.inbox.result(func() {
			s.worker.busy = false
			if err != nil {
				s.failed(err)
				return
			}
			if !s.samePublication(p.Fingerprint) {
				return
			}
			s.want.proved = activity
			if len(s.proofs) == 0 {
				s.machine.Restate() // the next start judges the publication by it
			}
			s.proofs = addProof(s.proofs, p)
			if !s.foreign || s.want.horizon.reached(p, activity) {
				s.machine.Proof(activity, lsn)
			}
		})
	}
}

// samePublication tells whether the publication is still what the stream began with.
func (s *session) samePublication(fingerprint string) bool {
	if fingerprint == s.fingerprint {
		return true
	}
	if !continuous(s.fingerprint, fingerprint) {
		s.worker.fatal = errPublication
		return false
	}
	s.r.log.Warn("publication was altered", "publication", s.r.cfg.Publication)
	s.fingerprint = fingerprint
	return true
}

// look finds out whether the publication was altered: an idle stream takes no proofs.
func (s *session) look(ctx context.Context) {
	fingerprint, err := s.r.store.fingerprint(ctx)
	s.inbox.result(func() {
		s.worker.busy = false
		if err != nil {
			s.failed(err)
			return
		}
		s.samePublication(fingerprint)
	})
}
