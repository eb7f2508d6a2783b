package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gapless/gapless/internal/process"
)

// service is one process of the pipeline that is started again and again.
type service struct {
	name  string
	path  string
	args  []string
	env   []string
	ready string // URL of /readyz
	log   string
	// steps are its crash points.
	steps []string

	mu   sync.Mutex
	proc *process.Process
	out  *os.File
	from int64 // where the present run's log begins
}

// start runs the service; crash is a plan for GAPLESS_CRASH or "".
func (s *service) start(crash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	s.from, s.out = info.Size(), out
	env := s.env
	if crash != "" {
		env = append(env[:len(env):len(env)], "GAPLESS_CRASH="+crash)
	}
	s.proc, err = process.Start(process.Command{Path: s.path, Args: s.args, Env: env, Output: out})
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	return nil
}

func (s *service) done() <-chan struct{} { return s.proc.Done() }

// kill sends SIGKILL and waits until the process is reaped.
func (s *service) kill(ctx context.Context) error {
	if err := s.proc.Signal(syscall.SIGKILL); err != nil && s.proc.Running() {
		return fmt.Errorf("kill %s: %w", s.name, err)
	}
	<-s.proc.Done()
	return s.out.Close()
}

// stop asks the process to end and reports how it did.
func (s *service) stop(ctx context.Context) error {
	if !s.proc.Running() {
		return s.out.Close()
	}
	if err := s.proc.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.proc.Done():
	case <-time.After(15 * time.Second):
		if err := s.kill(ctx); err != nil {
			return err
		}
		return fmt.Errorf("%s did not end within 15 s of SIGTERM", s.name)
	}
	if err := s.proc.Err(); err != nil {
		return fmt.Errorf("%s after SIGTERM: %w", s.name, err)
	}
	return s.out.Close()
}

// diedAt reports the crash point that the present run's log ends with.
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

// waitReady waits until /readyz says so or the process ends.
func (s *service) waitReady(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.ready, http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s; its log is %s", s.name, limit, s.log)
		case <-s.proc.Done():
			return fmt.Errorf("%s ended before it was ready: %v; its log is %s", s.name, s.proc.Err(), s.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
