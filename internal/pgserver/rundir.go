//go:build unix

package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gapless/gapless/internal/process"
)

const (
	runPrefix = "gapless-pg-"

	// maxSocketPath is below sun_path of every system: 108 on Linux, 104 on BSD.
	maxSocketPath = 100

	// sweepAge leaves alone a directory whose maker has not locked it yet.
	sweepAge = time.Minute
)

// runDir is a temporary directory with a lock that lives as long as this process.
type runDir struct {
	path   string
	unlock func()
}

// newRunDir makes a run directory that the account can pass through, and removes
// those that killed processes left.
func newRunDir(ctx context.Context, tempDir string, as account) (runDir, error) {
	parent := tempParent(cmp.Or(tempDir, os.TempDir()), as)
	sweep(parent)
	path, err := os.MkdirTemp(parent, runPrefix)
	if err != nil {
		return runDir{}, fmt.Errorf("create run directory: %w", err)
	}
	d := runDir{path: path, unlock: func() {}}
	d.unlock, err = process.LockFile(ctx, filepath.Join(path, "lock"))
	if err != nil {
		return runDir{}, errors.Join(err, os.RemoveAll(path))
	}
	// The account passes through it to the socket and the data; both are closed
	// to everyone else by their own modes.
	if err := os.Chmod(path, 0o711); err != nil { //nolint:gosec // see above
		return runDir{}, errors.Join(fmt.Errorf("open run directory: %w", err), d.remove())
	}
	if err := os.Mkdir(d.socketDir(), 0o700); err != nil {
		return runDir{}, errors.Join(fmt.Errorf("create socket directory: %w", err), d.remove())
	}
	if err := as.own(d.socketDir()); err != nil {
		return runDir{}, errors.Join(err, d.remove())
	}
	return d, nil
}

func (d runDir) socketDir() string { return filepath.Join(d.path, "s") }
func (d runDir) logFile() string   { return filepath.Join(d.path, "server.log") }

func (d runDir) remove() error {
	err := os.RemoveAll(d.path)
	d.unlock()
	if err != nil {
		return fmt.Errorf("remove run directory: %w", err)
	}
	return nil
}

// tempParent is dir, or /tmp where the account cannot reach dir or it is too long
// for a socket.
func tempParent(dir string, as account) string {
	longest := filepath.Join(dir, runPrefix+"0000000000", "s", ".s.PGSQL.65535.lock")
	if as.reaches(dir) != nil || len(longest) > maxSocketPath {
		return "/tmp"
	}
	return dir
}

// sweep removes run directories of this account whose process is gone. It is a
// courtesy: whatever is in doubt stays.
func sweep(parent string) {
	found, err := filepath.Glob(filepath.Join(parent, runPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || int(s.Uid) != os.Geteuid() {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		orphan := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
		if orphan && !postmasterAlive(filepath.Join(dir, "data")) {
			_ = os.RemoveAll(dir)
		}
		f.Close()
	}
}

// postmasterAlive tells whether the first line of postmaster.pid names a live
// process.
func postmasterAlive(dataDir string) bool {
	b, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	return err != nil || process.Alive(max(pid, -pid)) // negative: initdb's single-user server
}
