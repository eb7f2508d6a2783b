package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/wire"
)

// processFaults are what happens to the relay's own process.
func processFaults() []fault {
	var all []fault
	for _, s := range []struct {
		step   string
		within int // hits that come by in a moment under load
	}{
		{"after_connect", 1},
		{"after_begin", 150},
		{"after_track", 300},
		{"after_send", 300},
		{"after_commit", 150},
		{"after_ack", 300},
		{"after_store", 4},
		{"after_confirm", 4},
	} {
		name := "relay." + s.step
		all = append(all, fault{
			name: "crash-" + strings.ReplaceAll(s.step, "_", "-"), what: "kill -9 of the relay at step " + name,
			make: func(ctx context.Context, r *run) error { return crashAt(ctx, r, name, s.within) },
		})
	}
	return append(all,
		fault{name: "kill", what: "kill -9 of the relay three times, at any moment", make: killed},
		fault{name: "kill-in-flight", what: "kill -9 of the relay while the broker is stopped and records are on their way", make: killedInFlight},
		fault{name: "kill-takeover", what: "kill -9 of the relay that has the slot, while another stands by", make: takeover},
		fault{name: "sigterm", what: "SIGTERM under load", make: terminated},
		fault{name: "sigterm-twice", what: "SIGTERM while the broker does not answer, and a second one", make: terminatedTwice},
		fault{name: "sigterm-no-kafka", what: "SIGTERM while nothing arrives at Kafka and nothing is answered", make: terminatedAlone(toKafka)},
		fault{name: "sigterm-no-postgres", what: "SIGTERM while nothing arrives at Postgres and nothing is answered", make: terminatedAlone(toPostgres)},
		fault{name: "zombie", what: "SIGSTOP past wal_sender_timeout, a standby takes over, SIGCONT", make: zombie},
		fault{name: "memory", what: "a transaction of 160 MB under a limit of 96 MiB on the relay (cgroup)", make: memory, cold: true},
	)
}

// crashAt stops the relay in good order, and has its next life die at the step.
func crashAt(ctx context.Context, r *run, step string, within int) error {
	a := r.relay("a")
	if err := a.Stop(); err != nil {
		return err
	}
	plan := fmt.Sprintf("%s:%d", step, 1+r.rng.IntN(within))
	if err := a.Start(plan); err != nil {
		return err
	}
	select {
	case <-a.Proc.Done():
	case <-time.After(20 * time.Second):
		return fmt.Errorf("the relay came not by %s in 20 s", plan)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.begins()
	at, err := a.Died()
	if err != nil {
		return err
	}
	if at != step {
		return fmt.Errorf("the relay died at %q, not at %s", at, step)
	}
	r.proves("SIGKILL at %s", plan)
	if err := a.Start(""); err != nil {
		return err
	}
	r.heals()
	return r.up(ctx, a)
}

// kill ends a relay with SIGKILL; the kernel's word on it is the proof.
func kill(r *run, s *bed.Service) error {
	if _, err := s.Kill(); err != nil {
		return err
	}
	r.proves("SIGKILL")
	return nil
}

func killed(ctx context.Context, r *run) error {
	a := r.relay("a")
	for n := range 3 {
		if n == 0 {
			r.begins()
		}
		if err := kill(r, a); err != nil {
			return err
		}
		if err := a.Start(""); err != nil {
			return err
		}
		r.heals()
		if n == 2 {
			break
		}
		if err := pause(ctx, time.Duration(r.rng.IntN(1000))*time.Millisecond); err != nil {
			return err
		}
	}
	return r.up(ctx, a)
}

// killedInFlight lets the relay go on for a second without an answer, in which it
// stores what it may: a relay that stores more loses it here.
func killedInFlight(ctx context.Context, r *run) error {
	a := r.relay("a")
	r.begins()
	if err := r.stopBroker(ctx); err != nil {
		return err
	}
	stopped := time.Now()
	err := pause(ctx, time.Second)
	if rows := len(r.load.committedSince(stopped)); err == nil && rows > 0 {
		if err = kill(r, a); err == nil {
			r.proves("%d rows committed since the broker was stopped", rows)
		}
	}
	// What is in the broker's sockets it has not got.
	r.broker.toKafka.Reset()
	if err := errors.Join(err, r.broker.kafka.Resume()); err != nil {
		return err
	}
	if err := a.Start(""); err != nil {
		return err
	}
	r.heals()
	return r.up(ctx, a)
}

// inFlight waits until the relay waits for acknowledgements.
func (r *run) inFlight(ctx context.Context, s *bed.Service) error {
	return r.until(ctx, s, 10*time.Second, "waiting for acknowledgements", func(ctx context.Context) bool {
		n, err := metric(ctx, s, "gapless_relay_queue_records")
		return err == nil && n > 0
	})
}

func takeover(ctx context.Context, r *run) error {
	b, err := r.start(ctx, "b")
	if err != nil {
		return err
	}
	if b.Streams(ctx) {
		return errors.New("two relays stream from one slot")
	}
	r.beginsAndHeals() // nobody comes to mend it
	if err := kill(r, r.relay("a")); err != nil {
		return err
	}
	return r.streams(ctx, b)
}

func terminated(ctx context.Context, r *run) error {
	a := r.relay("a")
	r.begins()
	if err := a.Stop(); err != nil { // an exit code that is not 0 is an error
		return err
	}
	if text, err := a.Words(); err != nil || !strings.Contains(text, `"msg":"stream stopped"`) {
		return errors.Join(errors.New("the relay did not say that its stream stopped"), err)
	}
	r.proves("exit code 0 after SIGTERM")
	if err := a.Start(""); err != nil {
		return err
	}
	r.heals()
	return r.up(ctx, a)
}

// terminatedAlone asks the relay to end when it can reach one of its servers no more.
// It must end in its own time, and say that all is well: what was not stored comes
// again.
func terminatedAlone(of func(*run) *wire.Proxy) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		a, p := r.relay("a"), of(r)
		before := p.Counts().Dropped
		r.begins()
		if err := p.BlackHole(); err != nil {
			return err
		}
		if err := pause(ctx, time.Duration(r.rng.IntN(3000))*time.Millisecond); err != nil {
			return err
		}
		asked := time.Now()
		stopped := a.Stop()
		took := time.Since(asked)
		dropped := p.Counts().Dropped - before
		if err := errors.Join(stopped, p.Heal()); err != nil {
			return err
		}
		if dropped > 0 {
			r.proves("exit code 0 %.1f s after SIGTERM, %d packets dropped", took.Seconds(), dropped)
		}
		if err := a.Start(""); err != nil {
			return err
		}
		r.heals()
		return r.up(ctx, a)
	}
}

func terminatedTwice(ctx context.Context, r *run) error {
	a := r.relay("a")
	r.begins()
	if err := r.stopBroker(ctx); err != nil {
		return err
	}
	err := r.inFlight(ctx, a) // or it would end at the first
	if err == nil {
		err = endTwice(ctx, r, a)
	}
	if err := errors.Join(err, r.broker.kafka.Resume()); err != nil {
		return err
	}
	if err := a.Start(""); err != nil {
		return err
	}
	r.heals()
	return r.up(ctx, a)
}

func endTwice(ctx context.Context, r *run, a *bed.Service) error {
	if err := send(a, syscall.SIGTERM); err != nil {
		return err
	}
	if err := pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	if !a.Running() {
		return fmt.Errorf("the relay ended at the first SIGTERM, with records in flight: %w", a.Proc.Err())
	}
	if err := send(a, syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-a.Proc.Done():
	case <-time.After(2 * time.Second):
		return errors.New("the relay lived 2 s on after a second SIGTERM")
	}
	exit, ok := errors.AsType[*exec.ExitError](a.Proc.Err())
	if status, is := waitStatus(exit, ok); !is || status.Signal() != syscall.SIGTERM {
		return fmt.Errorf("after a second SIGTERM the relay ended with: %w", a.Proc.Err())
	}
	r.proves("ended by the second SIGTERM, 300 ms after the first")
	return nil
}

func waitStatus(exit *exec.ExitError, ok bool) (syscall.WaitStatus, bool) {
	if !ok {
		return 0, false
	}
	status, is := exit.Sys().(syscall.WaitStatus)
	return status, is
}

func zombie(ctx context.Context, r *run) error {
	a := r.relay("a")
	b, err := r.start(ctx, "b")
	if err != nil {
		return err
	}
	log := r.serverLog()
	r.beginsAndHeals()
	if err := send(a, syscall.SIGSTOP); err != nil {
		return err
	}
	err = r.streams(ctx, b)
	if err == nil {
		err = log.says("terminating walsender process due to replication timeout")
	}
	if err == nil {
		err = r.flows(ctx, 50+r.rng.IntN(200))
	}
	if err := errors.Join(err, send(a, syscall.SIGCONT)); err != nil {
		return err
	}
	// What it had in its hands it may still send; then it must find that it is none.
	if err := r.says(ctx, a, `"msg":"standing by"`); err != nil {
		return err
	}
	if !b.Streams(ctx) {
		return errors.New("the relay that took over streams no more")
	}
	r.proves("the server ended the walsender by its timeout; the stopped relay stands by")
	return nil
}

const (
	memoryLimit = 96 << 20
	largeRows   = 40_000
	largeSize   = 4 << 10
)

func memory(ctx context.Context, r *run) error {
	group, err := newCgroup(fmt.Sprintf("gapless-faults-%d", os.Getpid()), memoryLimit)
	if err != nil {
		return err
	}
	defer group.remove()
	a, err := r.launch(ctx, "a")
	if err != nil {
		return err
	}
	if err := group.add(a.Proc.Pid()); err != nil {
		return err
	}
	if err := errors.Join(r.up(ctx, a), r.flows(ctx, 100)); err != nil {
		return err
	}
	r.begins()
	if err := r.load.large(ctx, r.kind, largeRows, largeSize); err != nil {
		return err
	}
	r.heals()
	if err := r.flows(ctx, 1); err != nil { // they come behind it
		return err
	}
	peak, err := group.peak()
	if err != nil {
		return err
	}
	if !a.Running() {
		return fmt.Errorf("the relay did not live through it: %w", a.Proc.Err())
	}
	r.proves("%d MB in one transaction, the relay's peak was %d MiB of %d", largeRows*largeSize/1_000_000, peak>>20, memoryLimit>>20)
	return nil
}
