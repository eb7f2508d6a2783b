package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
)

// crashes is a relay process under load, on a topic of its own.
type crashes struct {
	*setup
	t         testing.TB
	brokers   []string
	aggregate string
	topic     string
}

func crashesOf(t *testing.T, s *setup) *crashes {
	t.Helper()
	c := &crashes{setup: s, t: t, aggregate: kafkaserver.Name(t, "crash")}
	if s.kafka != nil {
		c.brokers = s.kafka.brokers
	} else {
		c.brokers = kafkaserver.ForTest(t)
	}
	c.topic = "outbox.event." + c.aggregate
	kafkaserver.CreateTopic(t, c.brokers, c.topic, 3)
	return c
}

// process is one life of the relay.
type process struct {
	cmd    *exec.Cmd
	stderr *output
	exited chan error
}

// output is written by the process and read by the test.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (c *crashes) start(env ...string) *process {
	c.t.Helper()
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(c.t.Context()), os.Args[0]), stderr: &output{}, exited: make(chan error, 1)}
	if c.kafka != nil {
		env = append(env, "DATABASE="+c.kafka.login, "STATE_TOPIC="+c.kafka.topic)
	} else {
		env = append(env, "DATABASE="+c.db.URL)
	}
	p.cmd.Env = append(os.Environ(), append(env, childVariable+"=1", "SLOT="+c.slot, "BROKERS="+strings.Join(c.brokers, ","))...)
	p.cmd.Stderr, p.cmd.Stdout = p.stderr, io.Discard
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	c.t.Cleanup(func() {
		if c.t.Failed() {
			p.tell(c.t)
		}
		_ = p.cmd.Process.Kill() // an error says that it is gone already
	})
	return p
}

// tell has a process that still runs say where each of its goroutines is.
func (p *process) tell(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // an error says that it is gone
	if p.cmd.Process.Signal(syscall.SIGQUIT) != nil {
		return
	}
	select {
	case err := <-p.exited:
		t.Logf("a process that still ran: %v\n%s", err, p.stderr)
	case <-time.After(5 * time.Second):
	}
}

// killed waits for the end and tells whether it was SIGKILL.
func (p *process) killed(t testing.TB) bool {
	t.Helper()
	select {
	case err := <-p.exited:
		var exit *exec.ExitError
		return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	case <-time.After(patience):
		t.Fatalf("process still runs:\n%s", p.stderr)
		return false
	}
}

// streaming is what a process says when it has the slot.
const streaming = "msg=streaming"

// streams waits until the process has the slot.
func (p *process) streams(t testing.TB) {
	t.Helper()
	testkit.Eventually(t, 2*patience, func() error {
		if !strings.Contains(p.stderr.String(), streaming) {
			return fmt.Errorf("not streaming:\n%s", p.stderr)
		}
		return nil
	})
}

// load writes transactions of one to five rows over a few keys until ctx ends,
// and returns how many rows it committed.
func (c *crashes) load(ctx context.Context, seed uint64) (rows int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	version := map[int]int{}
	for ctx.Err() == nil {
		var keys []string
		var versions []int64
		for range 1 + rng.IntN(5) {
			k := rng.IntN(5)
			version[k]++
			keys, versions = append(keys, strconv.Itoa(k)), append(versions, int64(version[k]))
		}
		statement := `
			insert into gapless.outbox (aggregatetype, aggregateid, aggregate_version, type, payload)
			select $1, k, v, 'T', convert_to(v::text, 'UTF8') from unnest($2::text[], $3::bigint[]) with ordinality as u(k, v, n) order by n`
		if c.kafka != nil {
			statement = "insert into " + ownTable + ` (aggregatetype, aggregateid, type, payload)
			select $1, k, 'T', v::text from unnest($2::text[], $3::bigint[]) with ordinality as u(k, v, n) order by n`
		}
		// The statement is not cancelled: half a load would be unknown.
		_, err := c.pool.Exec(context.WithoutCancel(ctx), statement, c.aggregate, keys, versions)
		if err != nil {
			c.t.Errorf("load: %v", err)
			return rows
		}
		rows += len(keys)
	}
	return rows
}

// judge waits until everything is there, and checks that per key the first
// occurrences are in order and nothing is there that was not written.
func (c *crashes) judge(rows int) {
	c.t.Helper()
	f := follow(c.t, c.brokers, c.topic)
	total := 0
	testkit.Eventually(c.t, 3*patience, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		newest := map[string]int{}
		seen := 0
		for _, r := range f.records {
			v, err := strconv.Atoi(string(r.Value))
			if err != nil {
				c.t.Fatalf("record %q was not written", r.Value)
			}
			key := string(r.Key)
			if v > newest[key]+1 {
				c.t.Fatalf("key %s: first occurrence of %d after %d", key, v, newest[key])
			}
			if v == newest[key]+1 {
				newest[key] = v
				seen++
			}
		}
		if total = len(f.records); seen != rows {
			return fmt.Errorf("%d of %d rows", seen, rows)
		}
		return nil
	})
	c.t.Logf("%d rows, %d repeats", rows, total-rows)
}

func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	inBoth(t, killedAtRandom)
}

func killedAtRandom(t *testing.T, s *setup) {
	t.Helper()
	seed := uint64(testkit.Seed(t))
	rng := rand.New(rand.NewPCG(seed, 0))
	c := crashesOf(t, s)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	written := make(chan int, 1)
	go func() { written <- c.load(ctx, seed) }()
	const lives = 12
	kills, streamed := 0, 0
	for i := range lives {
		p := c.start()
		if i%2 == 0 { // the others may be killed at whatever comes before
			p.streams(t)
		}
		timer := time.NewTimer(time.Duration(20+rng.IntN(200)) * time.Millisecond)
		select {
		case <-timer.C:
		case err := <-p.exited:
			t.Fatalf("relay ended by itself: %v\n%s", err, p.stderr)
		}
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if p.killed(t) {
			kills++
		}
		if strings.Contains(p.stderr.String(), streaming) {
			streamed++
		}
	}
	if kills != lives || streamed < lives/2 {
		t.Errorf("%d kills, want %d; %d while streaming", kills, lives, streamed)
	}
	cancel()
	rows := <-written
	last := c.start()
	c.judge(rows)
	if err := last.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-last.exited:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, last.stderr)
		}
	case <-time.After(10 * time.Second):
		t.Error("still there 10 s after SIGTERM")
	}
}

// Killed while it replays for a signal, time and again: the next relay goes on where it
// was, events go on meanwhile, and what comes twice is of the pages under way.
func TestKilledAmidSnapshot(t *testing.T) {
	t.Parallel()
	const rows, page, kills = 900, 100, 3
	c := crashesOf(t, newSetup(t))
	c.makeSignalTable(t)
	c.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload)
		select $1, 'k' || i % 5, 'T', convert_to('v' || i, 'UTF8') from generate_series(1, $2::int) i`, c.aggregate, rows)
	c.together(t, signalRow("s", "execute-snapshot", fmt.Sprintf(`{"data-collections": ["gapless.outbox"], "rate": %d}`, page)))
	for i := range kills {
		p := c.start("SIGNAL_TABLE=" + signalTable)
		testkit.Eventually(t, 2*patience, func() error {
			var sent int
			err := c.pool.QueryRow(t.Context(), "select coalesce(sum(sent), 0) from gapless.relay_replay where finished_at is null").Scan(&sent)
			if err == nil && sent < (i+1)*2*page {
				err = fmt.Errorf("%d sent again: %s", sent, p.stderr)
			}
			return err
		})
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if !p.killed(t) {
			t.Fatal("it was not killed")
		}
		c.exec(t, `insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ($1, 'k', 'T', convert_to('later' || $2::int, 'UTF8'))`, c.aggregate, i)
	}
	last := c.start("SIGNAL_TABLE=" + signalTable)
	testkit.Eventually(t, 2*patience, func() error {
		if n := c.rows(t, "gapless.relay_replay where finished_at is not null and sent = "+strconv.Itoa(rows)); n != 1 {
			return fmt.Errorf("it is not finished: %s", last.stderr)
		}
		return nil
	})
	if n := c.rows(t, "gapless.relay_replay"); n != 1 {
		t.Errorf("%d replays", n)
	}
	f := follow(t, c.brokers, c.topic)
	testkit.Eventually(t, patience, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		streamed, again, repeats := map[string]bool{}, map[string]bool{}, 0
		for _, r := range f.records {
			seen := streamed
			for _, h := range r.Headers {
				if h.Key == "gapless_replay" {
					seen = again
				}
			}
			value := string(r.Value)
			if seen[value] {
				repeats++
			}
			seen[value] = true
			if seen[value] && !streamed[value] {
				t.Fatalf("%s was sent again before the stream had sent it", value)
			}
		}
		if len(streamed) != rows+kills || len(again) != rows {
			return fmt.Errorf("%d streamed, %d sent again", len(streamed), len(again))
		}
		if repeats > kills*(page+50) { // the stream's own
			return fmt.Errorf("%d repeats", repeats)
		}
		return nil
	})
}

// A relay that is stopped keeps the slot no longer than the server waits for it, and
// when it goes on its records are repeats and its progress is fenced.
func TestStoppedRelayIsReplaced(t *testing.T) {
	t.Parallel()
	inBoth(t, stoppedRelayIsReplaced)
}

func stoppedRelayIsReplaced(t *testing.T, s *setup) {
	t.Helper()
	c := crashesOf(t, s)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	written := make(chan int, 1)
	go func() { written <- c.load(ctx, 1) }()
	first := c.start()
	streams := func(p *process) {
		p.streams(t)
	}
	streams(first)
	if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	second := c.start()
	streams(second)
	t.Logf("taken over after %s", time.Since(stopped).Round(100*time.Millisecond))
	if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 2*patience, func() error {
		if !strings.Contains(first.stderr.String(), "standing by") {
			return fmt.Errorf("the first does not stand by:\n%s", first.stderr)
		}
		return nil
	})
	cancel()
	c.judge(<-written)
}
