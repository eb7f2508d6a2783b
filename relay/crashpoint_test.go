//go:build crashpoints

package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/testkit"
)

// Each named point must fire, and each must be survived.
func TestKilledAtEachPoint(t *testing.T) {
	t.Parallel()
	for _, point := range []string{
		"relay.after_connect:1", "relay.after_begin:40", "relay.after_track:77", "relay.after_send:50", "relay.after_commit:30",
		"relay.after_ack:5", "relay.after_store:3", "relay.after_confirm:3", "relay.stopping:1",
	} {
		name, _, _ := strings.Cut(point, ":")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(t *testing.T, s *setup) { killedAt(t, s, point) })
		})
	}
	for _, point := range []string{"relay.after_fence:1", "relay.after_state:1", "relay.after_state:4"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killedAt(t, newKafkaSetup(t), point)
		})
	}
}

func killedAt(t *testing.T, s *setup, point string) {
	t.Helper()
	name, _, _ := strings.Cut(point, ":")
	c := crashesOf(t, s)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Second)
	defer cancel()
	written := make(chan int, 1)
	go func() { written <- c.load(ctx, 1) }()
	for range 2 {
		p := c.start("GAPLESS_CRASH=" + point)
		if name == "relay.stopping" {
			testkit.Eventually(t, patience, func() error { // it cannot stop what has not begun
				if !strings.Contains(p.stderr.String(), "msg=streaming") {
					return errors.New("not streaming yet")
				}
				return nil
			})
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		if !p.killed(t) || !strings.Contains(p.stderr.String(), "crashpoint "+name+"\n") {
			t.Fatalf("did not fire:\n%s", p.stderr)
		}
	}
	rows := <-written
	c.start()
	c.judge(rows)
}

// Parked, then killed before progress is stored: no second row.
func TestKilledAfterPark(t *testing.T) {
	t.Parallel()
	inBoth(t, killedAfterPark)
}

func killedAfterPark(t *testing.T, s *setup) {
	t.Helper()
	c := crashesOf(t, s)
	c.appendKind(t, c.aggregate, "big", strings.Repeat("9", 1<<20))
	p := c.start("GAPLESS_CRASH=relay.after_park:1")
	if !p.killed(t) || !strings.Contains(p.stderr.String(), "crashpoint relay.after_park\n") {
		t.Fatalf("did not fire:\n%s", p.stderr)
	}
	c.appendKind(t, c.aggregate, "k", "1")
	c.start()
	c.judge(1)
	if got := c.parked(t); len(got) != 1 {
		t.Errorf("%d rows parked, want 1", len(got))
	}
}

// A pause is executed, then the relay is killed, and an operator ends the pause: the
// signal that is read again does not bring it back.
func TestKilledAfterSignal(t *testing.T) {
	t.Parallel()
	c := crashesOf(t, newSetup(t))
	c.makeSignalTable(t)
	row := func(value string) string {
		return fmt.Sprintf("insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('%s', 'k', 'T', '%s')", c.aggregate, value)
	}
	p := c.start("GAPLESS_CRASH=relay.after_signal:1", "SIGNAL_TABLE="+signalTable)
	c.together(t, row("1"), signalRow("p", "pause", ""), row("2"))
	if !p.killed(t) || !strings.Contains(p.stderr.String(), "crashpoint relay.after_signal\n") {
		t.Fatalf("did not fire:\n%s", p.stderr)
	}
	if n := c.rows(t, "gapless.relay_control where paused"); n != 1 {
		t.Errorf("%d pauses", n)
	}
	c.setup.pause(t, false)
	c.start("SIGNAL_TABLE=" + signalTable)
	c.judge(2)
}

// A page of a replay has arrived, then the relay is killed before that is written down: it
// comes again, and the replay is not begun anew.
func TestKilledAfterPage(t *testing.T) {
	t.Parallel()
	c := crashesOf(t, newSetup(t))
	c.makeSignalTable(t)
	c.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
		select $1, 'k', 'T', convert_to(i::text, 'UTF8') from generate_series(1, 9) i`, c.aggregate)
	c.together(t, signalRow("s", "execute-snapshot", `{"data-collections": ["gapless.outbox"], "rate": 3}`))
	p := c.start("GAPLESS_CRASH=relay.after_page:2", "SIGNAL_TABLE="+signalTable)
	if !p.killed(t) || !strings.Contains(p.stderr.String(), "crashpoint relay.after_page\n") {
		t.Fatalf("did not fire:\n%s", p.stderr)
	}
	if n := c.rows(t, "gapless.relay_replay where sent = 3 and finished_at is null"); n != 1 {
		t.Errorf("%d replays have sent a page", n)
	}
	c.start("SIGNAL_TABLE=" + signalTable)
	testkit.Eventually(t, 2*patience, func() error {
		if n := c.rows(t, "gapless.relay_replay where sent = 9 and finished_at is not null"); n != 1 {
			return errors.New("it is not finished")
		}
		return nil
	})
	f := follow(t, c.brokers, c.topic)
	testkit.Eventually(t, patience, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		var values []string
		for _, r := range f.records {
			values = append(values, string(r.Value))
		}
		if got := strings.Join(values, ""); !strings.HasSuffix(got, "123456456789") {
			return fmt.Errorf("the topic has %s", got)
		}
		return nil
	})
}

// Redriven and acknowledged, then killed before that is written down: the row comes
// again, and only then what waits behind it.
func TestKilledAfterResend(t *testing.T) {
	t.Parallel()
	inBoth(t, killedAfterResend)
}

func killedAfterResend(t *testing.T, s *setup) {
	t.Helper()
	c := crashesOf(t, s)
	c.appendKind(t, c.aggregate, "k", strings.Repeat("9", 5000), "1", "2")
	p := c.start("MAX_RECORD_BYTES=4000")
	testkit.Eventually(t, patience, func() error {
		if got := c.parked(t); len(got) != 3 {
			return fmt.Errorf("%d rows are parked", len(got))
		}
		return nil
	})
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	request := c.request(t, "redrive")
	for hit := 1; hit <= 2; hit++ { // after the first, and after the second when the first is settled
		p = c.start("GAPLESS_CRASH=relay.after_resend:" + strconv.Itoa(hit))
		if !p.killed(t) || !strings.Contains(p.stderr.String(), "crashpoint relay.after_resend\n") {
			t.Fatalf("did not fire:\n%s", p.stderr)
		}
	}
	c.start()
	c.finished(t, request)
	c.appendKind(t, c.aggregate, "k", "3")
	f := follow(t, c.brokers, c.topic)
	testkit.Eventually(t, patience, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		var first []string
		for _, r := range f.records {
			if v := string(r.Value[:1]); !slices.Contains(first, v) {
				first = append(first, v)
			}
		}
		if !slices.Equal(first, []string{"9", "1", "2", "3"}) {
			return fmt.Errorf("first occurrences are %q", first)
		}
		return nil
	})
}
