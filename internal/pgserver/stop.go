//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Stop shuts the server down and removes everything that is temporary: a fast
// shutdown (SIGINT), after [Config.StopGrace] an immediate one (SIGQUIT), and then
// SIGKILL. ctx ends the patience earlier, never the clean-up. A second call does
// nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return nil
	}
	if err := s.halt(ctx); err != nil {
		return err
	}
	s.removed = true
	var err error
	if s.cfg.DataDir == "" {
		err = removeSegment(s.dataDir)
	}
	return errors.Join(err, s.run.remove())
}

// Restart stops the server if it runs and starts it again, on the same port and
// the same data.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return errors.New("restart postgres: it was stopped for good")
	}
	if err := s.halt(ctx); err != nil {
		return err
	}
	return s.start(ctx)
}

// Kill ends the server and all its backends with SIGKILL, as a power cut would,
// and returns when they are gone. The data and the port stay for a Restart.
func (s *Server) Kill(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.process().KillTree(ctx); err != nil {
		return fmt.Errorf("kill postgres: %w", err)
	}
	s.cfg.Logger.Info("postgres killed", "port", s.port)
	return nil
}

// Pause stops the postmaster with SIGSTOP: connections that exist go on, new ones
// hang. Resume undoes it.
func (s *Server) Pause() error { return s.process().Signal(syscall.SIGSTOP) }

// Resume continues a paused server.
func (s *Server) Resume() error { return s.process().Signal(syscall.SIGCONT) }

const immediateGrace = 6 * time.Second // the postmaster itself kills its children after 5 s

func (s *Server) halt(ctx context.Context) error {
	p := s.process()
	// A stopped process acts on a signal only once it goes on.
	if err := p.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	for _, step := range []struct {
		signal syscall.Signal
		grace  time.Duration
	}{{syscall.SIGINT, s.cfg.StopGrace}, {syscall.SIGQUIT, immediateGrace}} {
		if step.grace < 0 {
			continue
		}
		if err := p.Signal(step.signal); err != nil {
			return fmt.Errorf("stop postgres: %w", err)
		}
		patience, cancel := context.WithTimeout(ctx, step.grace)
		err := p.Wait(patience)
		cancel()
		if err == nil {
			s.cfg.Logger.Info("postgres stopped", "port", s.port)
			return nil
		}
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := p.KillTree(end); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	s.cfg.Logger.Warn("postgres did not shut down and was killed", "port", s.port)
	return nil
}
