package bed

import (
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

// Service is a process of the program that is started again and again. One
// goroutine uses it.
type Service struct {
	Name string
	Path string // of the program
	Args []string
	Env  []string
	Ops  string // base URL of its operators' endpoints
	Log  string // file that all its lives append to

	Proc *process.Process // of the present life; nil before the first

	out  *os.File
	from int64 // where the present life's log begins
}

// Start runs the service; crash is a plan for GAPLESS_CRASH or "".
func (s *Service) Start(crash string) error {
	out, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	s.from, s.out = info.Size(), out
	env := s.Env
	if crash != "" {
		env = append(env[:len(env):len(env)], "GAPLESS_CRASH="+crash)
	}
	s.Proc, err = process.Start(process.Command{Path: s.Path, Args: s.Args, Env: env, Output: out})
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", s.Name, err), out.Close())
	}
	return nil
}

func (s *Service) Running() bool { return s.Proc != nil && s.Proc.Running() }

// Kill sends SIGKILL and returns how the process died.
func (s *Service) Kill() (step string, err error) {
	if err := s.Proc.Signal(syscall.SIGKILL); err != nil {
		return "", fmt.Errorf("kill %s: %w", s.Name, err)
	}
	return s.Died()
}

// Died waits until the process is reaped and returns the step that it names, ""
// for none. A death by anything but SIGKILL is an error.
func (s *Service) Died() (step string, err error) {
	<-s.Proc.Done()
	if err := s.out.Close(); err != nil {
		return "", err
	}
	exit, ok := errors.AsType[*exec.ExitError](s.Proc.Err())
	if !ok {
		return "", fmt.Errorf("%s ended by itself without an error; its log is %s", s.Name, s.Log)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		return "", fmt.Errorf("%s ended by itself: %w; its log is %s", s.Name, exit, s.Log)
	}
	return s.diedAt()
}

// diedAt is the crash point in the present life's log.
func (s *Service) diedAt() (string, error) {
	text, err := s.Words()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "crashpoint "); ok {
			return name, nil
		}
	}
	return "", nil
}

// Words is what the present life has written so far.
func (s *Service) Words() (string, error) {
	text, err := os.ReadFile(s.Log)
	if err != nil {
		return "", err
	}
	return string(text[min(s.from, int64(len(text))):]), nil
}

// Stop asks the process to end and reports how it did. One that does not is asked
// where it is: SIGQUIT writes all its goroutines to its log.
func (s *Service) Stop() error {
	if err := s.Proc.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.Proc.Done():
	case <-time.After(10 * time.Second):
		err := s.Proc.Signal(syscall.SIGQUIT)
		<-s.Proc.Done()
		return errors.Join(fmt.Errorf("%s did not end within 10 s of SIGTERM; its log is %s", s.Name, s.Log), err, s.out.Close())
	}
	if err := s.Proc.Err(); err != nil {
		return fmt.Errorf("%s after SIGTERM: %w; its log is %s", s.Name, err, s.Log)
	}
	return s.out.Close()
}

// WaitReady waits until /readyz says so. It returns false when the process ends
// before that.
func (s *Service) WaitReady(ctx context.Context, limit time.Duration) (bool, error) {
	return s.Until(ctx, limit, "ready", func(ctx context.Context) bool {
		_, ok := s.Ask(ctx, "/readyz")
		return ok
	})
}

// Streams tells whether the relay has the slot.
func (s *Service) Streams(ctx context.Context) bool {
	text, ok := s.Ask(ctx, "/status")
	return ok && strings.Contains(text, `"state": "streaming"`)
}

// Ask the service's operators' address; ok is an answer of 200.
func (s *Service) Ask(ctx context.Context, path string) (text string, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Ops+path, http.NoBody)
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

// Until looks until what is asked for has come. It returns false when the
// process ends before that.
func (s *Service) Until(ctx context.Context, limit time.Duration, what string, look func(context.Context) bool) (bool, error) {
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
		case <-s.Proc.Done():
			return false, nil
		case <-late.C:
			return false, fmt.Errorf("%s: not %s after %s; its log is %s", s.Name, what, limit, s.Log)
		case <-tick.C:
		}
	}
}
