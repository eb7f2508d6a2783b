package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/gapless/gapless/internal/process"
)

// service is one process of the pipeline that is started again and again. One
// goroutine uses it.
type service struct {
	name string
	path string
	args []string
	// nameless are the args of a process that is not known from its lives before.
	nameless []string
	env      []string
	ops      string // base URL of its operators' endpoints
	log      string

	proc *process.Process
	out  *os.File
	from int64 // where the present life's log begins
}

// start runs the service; crash is a plan for GAPLESS_CRASH or "".
func (s *service) start(crash string) error {
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	s.from, s.out = info.Size(), out
	env := s.env
	if crash != "" {
		env = append(env[:len(env):len(env)], "GAPLESS_CRASH="+crash)
	}
	s.proc, err = process.Start(process.Command{Path: s.path, Args: s.args, Env: env, Output: out})
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", s.name, err), out.Close())
	}
	return nil
}

func (s *service) running() bool { return s.proc != nil && s.proc.Running() }

// kill sends SIGKILL and returns how the process died.
func (s *service) kill() (step string, err error) {
	if err := s.proc.Signal(syscall.SIGKILL); err != nil {
		return "", fmt.Errorf("kill %s: %w", s.name, err)
	}
	return s.died()
}

// died waits until the process is reaped and returns the step that it names, ""
// for none. A death by anything but SIGKILL is an error.
func (s *service) died() (step string, err error) {
	<-s.proc.Done()
	if err := s.out.Close(); err != nil {
		return "", err
	}
	exit, ok := errors.AsType[*exec.ExitError](s.proc.Err())
	if !ok {
		return "", fmt.Errorf("%s ended by itself without an error; its log is %s", s.name, s.log)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		return "", fmt.Errorf("%s ended by itself: %w; its log is %s", s.name, exit, s.log)
	}
	return s.diedAt()
}

// diedAt is the crash point in the present life's last line.
func (s *service) diedAt() (string, error) {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(text[s.from:]) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "crashpoint "); ok {
			return name, nil
		}
	}
	return "", nil
}

// stop asks the process to end and reports how it did.
func (s *service) stop() error {
	if err := s.proc.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.proc.Done():
	case <-time.After(10 * time.Second):
		_, err := s.kill()
		return errors.Join(fmt.Errorf("%s did not end within 10 s of SIGTERM; its log is %s", s.name, s.log), err)
	}
	if err := s.proc.Err(); err != nil {
		return fmt.Errorf("%s after SIGTERM: %w; its log is %s", s.name, err, s.log)
	}
	return s.out.Close()
}

// waitReady waits until /readyz says so. It returns false when the process ends
// before that.
func (s *service) waitReady(ctx context.Context, limit time.Duration) (bool, error) {
	return s.until(ctx, limit, "ready", func(ctx context.Context) bool {
		_, ok := s.ask(ctx, "/readyz")
		return ok
	})
}

// streams tells whether the relay has the slot.
func (s *service) streams(ctx context.Context) bool {
	text, ok := s.ask(ctx, "/status")
	return ok && strings.Contains(text, `"State": "streaming"`)
}

// ask the service's operators' address; ok is an answer of 200.
func (s *service) ask(ctx context.Context, path string) (text string, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ops+path, http.NoBody)
	if err != nil {
		return "", false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err == nil && resp.StatusCode == http.StatusOK
}

// until looks until what is asked for has come. It returns false when the
// process ends before that.
func (s *service) until(ctx context.Context, limit time.Duration, what string, look func(context.Context) bool) (bool, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, time.Second)
		done := look(one)
		cancel()
		if done {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-s.proc.Done():
			return false, nil
		case <-late.C:
			return false, fmt.Errorf("%s: not %s after %s; its log is %s", s.name, what, limit, s.log)
		case <-tick.C:
		}
	}
}
