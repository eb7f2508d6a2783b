package api_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/api"
)

// childVariable makes the test binary run a server and nothing else, so that a
// test can kill it as a process is killed.
const (
	childVariable  = "GAPLESS_TEST_API_CHILD"
	listenVariable = "GAPLESS_TEST_API_LISTEN"
)

func childMain() {
	server, err := api.New(api.Config{
		DatabaseURL: os.Getenv(childVariable), Listen: os.Getenv(listenVariable), MaxConns: 8, DrainDelay: -1, MaintainEvery: -1,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	go func() {
		<-server.Started()
		fmt.Println(server.URL())
	}()
	// The parent's end of standard input closes when the parent dies.
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(3)
	}()
	if err := server.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child is a server in a process of its own.
type child struct {
	cmd    *exec.Cmd
	url    string
	stdin  *os.File
	stderr *strings.Builder
}

func startChild(t *testing.T, databaseURL, listen string, env ...string) *child { //nolint:unparam // the tests with crash points give one
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+databaseURL, listenVariable+"="+listen)
	cmd.Env = append(cmd.Env, env...)
	readEnd, writeEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = readEnd
	c := &child{cmd: cmd, stdin: writeEnd, stderr: &strings.Builder{}}
	cmd.Stderr = c.stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	readEnd.Close()
	t.Cleanup(c.kill)
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(stdout).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case c.url = <-line:
	case <-time.After(20 * time.Second):
	}
	if c.url == "" {
		c.kill()
		t.Fatalf("the child did not start: %s", c.stderr)
	}
	return c
}

// kill is SIGKILL, and waits until the process is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.stdin.Close()
}
