//go:build unix

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Command describes a child. Path is required.
type Command struct {
	Path string
	Args []string // without the program's name
	Env  []string // the whole environment; nil means the parent's
	Dir  string   // working directory; empty means the parent's

	// Output receives stdout and stderr. A file and not a writer: a pipe would
	// have to be drained, and would stay open as long as any grandchild lives.
	Output *os.File

	// User is the account to run as; nil means the parent's own.
	User *User

	// DeathSignal is what the kernel sends when the parent dies. Zero means
	// SIGKILL. Linux only.
	DeathSignal syscall.Signal
}

// User is an account to run a child as. Only root can change it.
type User struct {
	Name     string
	UID, GID uint32
}

// Process is a running or ended child. Its methods may be called concurrently.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start runs c and returns as soon as the program was executed.
func Start(c Command) (*Process, error) {
	cmd := exec.Command(c.Path, c.Args...) //nolint:gosec,noctx // the caller names the program; it ends by signals in the caller's order, not by a context's SIGKILL
	cmd.Env, cmd.Dir = c.Env, c.Dir
	if c.Output != nil {
		cmd.Stdout, cmd.Stderr = c.Output, c.Output
	}
	if c.DeathSignal == 0 {
		c.DeathSignal = syscall.SIGKILL
	}
	cmd.SysProcAttr = attributes(c)

	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Until Wait has returned: the death signal fires when the thread that
		// forked exits, and the runtime ends idle threads as it likes.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return p, nil
}

// Pid is the child's process id. It stays the same after the child has ended.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed once the child has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the child ended: nil for exit status 0, else an *exec.ExitError.
// It blocks until Done.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Running tells whether the child has not been reaped yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends s to the child alone. A child that has ended is not an error.
func (p *Process) Signal(s syscall.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// SignalGroup sends s to the child's process group. An empty group is not an
// error.
func (p *Process) SignalGroup(s syscall.Signal) error {
	if !p.Running() {
		return nil // the number may be another group's by now
	}
	err := syscall.Kill(-p.Pid(), s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// Wait blocks until the child has ended or ctx has; only the latter is an error.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// KillTree ends the child, its group and its other children with SIGKILL, as a
// machine that loses power would, and returns once all of them are gone.
//
// The child is stopped first, so that it cannot fork between the moment its
// children are listed and the moment they are killed.
func (p *Process) KillTree(ctx context.Context) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop pid %d: %w", p.Pid(), err)
	}
	orphans := children(p.Pid())
	if err := p.SignalGroup(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill group %d: %w", p.Pid(), err)
	}
	for _, pid := range orphans {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill pid %d: %w", pid, err)
		}
	}
	if err := p.Wait(ctx); err != nil {
		return fmt.Errorf("wait for pid %d: %w", p.Pid(), err)
	}
	// Not our children, so they cannot be waited for; they are init's to reap.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range orphans {
		for Alive(pid) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for pid %d: %w", pid, ctx.Err())
			case <-tick.C:
			}
		}
	}
	return nil
}
