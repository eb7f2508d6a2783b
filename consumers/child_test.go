package consumers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/consumers"
)

// childVariable holds the JSON of a child. The test binary that finds it is not
// a test but the consumer process that a test starts and kills.
const childVariable = "GAPLESS_CONSUMERS_CHILD"

// child is a consumer process. Its handler does what a message's value says:
// poison, fail (each time), exit (the process dies), exit late,
// slow (which takes longer than exit late), anything else is an effect.
type child struct {
	DatabaseURL string
	Brokers     []string
	Name        string
	Topic       string
	Instance    string
	MaxAttempts int
	BatchSize   int
	Env         []string `json:"-"` // further variables
}

// minSession is the shortest session timeout that a broker allows by default.
const minSession = 6 * time.Second

func runChild() bool {
	spec := os.Getenv(childVariable)
	if spec == "" {
		return false
	}
	var c child
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("started")
	err := consumers.Run(ctx, consumers.Config{
		DatabaseURL: c.DatabaseURL, Brokers: c.Brokers, Instance: c.Instance, MaxAttempts: c.MaxAttempts, BatchSize: c.BatchSize,
		RetryBackoff: time.Millisecond,
		KafkaOptions: []kgo.Opt{kgo.SessionTimeout(minSession), kgo.HeartbeatInterval(time.Second)},
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Consumers: []consumers.Consumer{{
			Name: c.Name, Topics: []string{c.Topic},
			Apply: func(ctx context.Context, tx consumers.Tx, d consumers.Delivery) error {
				switch string(d.Value) {
				case "exit":
					os.Exit(3)
				case "exit late":
					<-time.After(300 * time.Millisecond)
					os.Exit(3)
				case "slow":
					<-time.After(900 * time.Millisecond)
				case "fail":
					return errors.New("it fails each time")
				}
				return applyEffect(ctx, tx, d)
			},
		}},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// childProcess is a running child.
type childProcess struct {
	cmd    *exec.Cmd
	done   chan struct{}
	err    error
	mu     sync.Mutex
	stderr bytes.Buffer
}

func (c *childProcess) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stderr.Write(p)
}

func (c *childProcess) log() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stderr.String()
}

// start runs the child. It is killed after the test.
func (c child) start(t *testing.T) *childProcess {
	t.Helper()
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &childProcess{cmd: exec.Command(self), done: make(chan struct{})} //nolint:noctx // ended by kill, which the test is about
	p.cmd.Env = append(os.Environ(), append(c.Env, childVariable+"="+string(spec))...)
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start child: %v", err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("child %d:\n%s", p.cmd.Process.Pid, p.log())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "started" {
		t.Fatalf("child did not start: %q, %v", line, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p
}

// kill is kill -9.
func (c *childProcess) kill() {
	_ = c.cmd.Process.Kill() // it may be gone
	<-c.done
}

// wait waits for the child to end by itself and returns its exit code, -1 for a
// signal.
func (c *childProcess) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(60 * time.Second):
		t.Fatal("child goes on")
	}
	return c.cmd.ProcessState.ExitCode()
}
