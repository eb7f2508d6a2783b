//go:build unix

package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/process"
	"github.com/gapless/gapless/internal/testkit"
)

// parentVariable makes this test binary a parent with one child.
const parentVariable = "GAPLESS_PROCESS_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentVariable) != "" {
		p, err := process.Start(process.Command{Path: "/bin/sleep", Args: []string{"60"}})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(p.Pid())
		select {}
	}
	goleak.VerifyTestMain(m)
}

func shell(t *testing.T, script string) (*process.Process, string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, err := process.Start(process.Command{Path: "/bin/sh", Args: []string{"-c", script}, Output: out})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.KillTree(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p, out.Name()
}

// pids reads the process ids that a script has written, once there are n.
func pids(t *testing.T, path string, n int) []int {
	t.Helper()
	var found []int
	testkit.Eventually(t, 10*time.Second, func() error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found = nil
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return err
			}
			found = append(found, pid)
		}
		if len(found) != n || !strings.HasSuffix(string(b), "\n") {
			return fmt.Errorf("%d of %d pids", len(found), n)
		}
		return nil
	})
	return found
}

func TestEndIsReported(t *testing.T) {
	t.Parallel()
	p, out := shell(t, "echo said; exit 3")
	var exit *exec.ExitError
	if err := p.Err(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("ended with %v, want exit status 3", err)
	}
	if b, err := os.ReadFile(out); err != nil || string(b) != "said\n" {
		t.Errorf("output %q, %v", b, err)
	}
	if p.Running() {
		t.Error("still running")
	}
	if err := errors.Join(p.Signal(syscall.SIGTERM), p.SignalGroup(syscall.SIGTERM)); err != nil {
		t.Errorf("signal to a child that has ended: %v", err)
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	t.Parallel()
	if _, err := process.Start(process.Command{Path: "/nowhere/server"}); err == nil || !strings.Contains(err.Error(), "/nowhere/server") {
		t.Errorf("Start: %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p, _ := shell(t, "sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
}

func TestSignalReachesTheWholeGroup(t *testing.T) {
	t.Parallel()
	p, out := shell(t, "sleep 60 & echo $!; wait")
	grandchild := pids(t, out, 1)[0]
	if err := p.SignalGroup(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	testkit.Eventually(t, 10*time.Second, func() error {
		if process.Alive(grandchild) {
			return fmt.Errorf("grandchild %d is left", grandchild)
		}
		return nil
	})
}

// TestKillTreeFindsSessionsOfTheirOwn covers what Postgres does: each backend is
// the leader of its own session, which a signal to the group does not reach.
func TestKillTreeFindsSessionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // documented as Linux only
	}
	p, out := shell(t, "setsid sh -c 'echo $$; exec sleep 60' & setsid sh -c 'echo $$; exec sleep 60' & wait")
	found := pids(t, out, 2)
	if err := p.KillTree(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range found {
		if process.Alive(pid) {
			t.Errorf("%d is left", pid)
		}
	}
}

func TestChildDiesWithItsParent(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // documented as Linux only
	}
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), parentVariable+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, scanErr := fmt.Fscan(out, &pid)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	if scanErr != nil {
		t.Fatal(scanErr)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		if process.Alive(pid) {
			return fmt.Errorf("child %d outlives its parent", pid)
		}
		return nil
	})
}

// TestChildOutlivesTheThreadsOfOthers ends many threads while children start and
// run. Were the forking thread not held, it would be among them, and the kernel
// would take its end for the parent's.
func TestChildOutlivesTheThreadsOfOthers(t *testing.T) {
	t.Parallel()
	var children []*process.Process
	for range 40 {
		var threads sync.WaitGroup
		for range 4 {
			threads.Go(func() { runtime.LockOSThread() }) // and never unlock: the thread ends with the goroutine
		}
		p, _ := shell(t, "exec sleep 60")
		children = append(children, p)
		threads.Wait()
	}
	for range 100 {
		var threads sync.WaitGroup
		threads.Go(func() { runtime.LockOSThread() })
		threads.Wait()
	}
	for _, p := range children {
		if !p.Running() {
			t.Errorf("child %d ended: %v", p.Pid(), p.Err())
		}
	}
}

func TestLockIsHeldUntilUnlocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := process.LockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := process.LockFile(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v, want the deadline", err)
	}
	unlock()
	again, err := process.LockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
