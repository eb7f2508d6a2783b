//go:build unix

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

// childVariable makes the test binary the program, so that a test can send it
// signals and a shell can call it.
const childVariable = "GAPLESS_TEST_CLI_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(cli.Main{Version: "test", Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}.Run(ctx, os.Args[1:]))
	}
	pgtest.Main(m, pgtest.Parallel(2))
}

// result is how a run of the program ended.
type result struct {
	code           int
	stdout, stderr string
}

// run calls the program whole.
func run(t *testing.T, env map[string]string, args ...string) result {
	t.Helper()
	return runContext(t, t.Context(), env, nil, args...)
}

//nolint:revive // the test comes first here as everywhere in the tests
func runContext(t *testing.T, ctx context.Context, env map[string]string, stdin io.Reader, args ...string) result {
	t.Helper()
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	var out, errs bytes.Buffer
	code := cli.Main{
		Version: "test", Getenv: func(name string) string { return env[name] }, Stdin: stdin, Stdout: &out, Stderr: &errs,
	}.Run(ctx, args)
	return result{code, out.String(), errs.String()}
}

// failsWith asserts one line on stderr that holds each of texts, no stack, and
// nothing on stdout.
func (r result) failsWith(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d; stderr: %s", r.code, code, r.stderr)
	}
	line := r.complaint()
	if strings.Count(r.stderr, "gapless: ") == 0 || line == "" {
		t.Errorf("no complaint on stderr: %q", r.stderr)
	}
	if strings.Contains(r.stderr, "goroutine ") || strings.Contains(r.stderr, "panic") {
		t.Errorf("a stack trace: %s", r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(line, text) {
			t.Errorf("%q is not in: %s", text, line)
		}
	}
}

// complaint is the last line of stderr, which is what is left on a screen; a
// refusal may have statements, each on a line, below it. What comes before are
// logs.
func (r result) complaint() string {
	at := strings.LastIndex("\n"+r.stderr, "\ngapless: ")
	if at < 0 {
		return ""
	}
	text := strings.TrimSuffix(strings.TrimPrefix(r.stderr[at:], "gapless: "), "\n")
	lines := strings.Split(text, "\n")
	if len(lines) == 1 {
		return text
	}
	for i, line := range lines {
		if !strings.HasPrefix(lines[0], "refused: ") || i > 1 && !strings.HasSuffix(line, ";") {
			return ""
		}
	}
	return text
}

func (r result) succeeds(t *testing.T) result {
	t.Helper()
	if r.code != cli.ExitOK {
		t.Fatalf("exit code %d; stdout: %s stderr: %s", r.code, r.stdout, r.stderr)
	}
	return r
}

// service is a command that runs until it is stopped.
type service struct {
	stop   context.CancelFunc
	done   chan struct{}
	result result
	log    *testkit.Buffer
}

// start runs a service in this process.
func start(t *testing.T, env map[string]string, args ...string) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &service{stop: cancel, done: make(chan struct{}), log: &testkit.Buffer{}}
	go func() {
		defer close(s.done)
		var out bytes.Buffer
		code := cli.Main{
			Version: "test", Getenv: func(name string) string { return env[name] },
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: s.log,
		}.Run(ctx, args)
		s.result = result{code, out.String(), s.log.String()}
	}()
	t.Cleanup(func() {
		if r := s.end(t); t.Failed() {
			t.Logf("%q ended with exit code %d: %s", args, r.code, r.stderr)
		}
	})
	return s
}

// end stops the service and returns how it ended.
func (s *service) end(t *testing.T) result {
	t.Helper()
	s.stop()
	select {
	case <-s.done:
	case <-time.After(15 * time.Second):
		t.Fatalf("still running 15 s after it was told to stop: %s", s.log)
	}
	return s.result
}

// ended waits until the service ends by itself.
func (s *service) ended(t *testing.T) result {
	t.Helper()
	const within = 30 * time.Second
	select {
	case <-s.done:
	case <-time.After(within):
		t.Fatalf("still running after %s: %s", within, s.log)
	}
	return s.result
}

// child returns a command that runs the program in a process of its own.
func child(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(append(os.Environ(), childVariable+"=1"), env...)
	return cmd
}

// lastPort counts below the ports that systems give away by themselves: one of those
// would be somebody's connection before it is listened on.
var lastPort atomic.Int64

func init() { lastPort.Store(20_000 + int64(os.Getpid()%100)*100) }

// consumed waits for the next n records.
func consumed(t *testing.T, client *kgo.Client, n int) (all []*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(all) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records of %d: %v", len(all), n, err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1))
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			continue
		}
		l.Close()
		return address
	}
	t.Fatal("no port is free")
	return ""
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// get returns the status and body of a GET, 0 when nobody answers.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

// awaitStatus waits until a GET has the status.
func awaitStatus(t *testing.T, url string, want int) string {
	t.Helper()
	var body string
	testkit.Eventually(t, 30*time.Second, func() error {
		var got int
		if got, body = get(t, url); got != want {
			return &statusError{url, got, body}
		}
		return nil
	})
	return body
}

type statusError struct {
	url  string
	got  int
	body string
}

func (e *statusError) Error() string {
	return e.url + ": " + http.StatusText(e.got) + " " + e.body
}
