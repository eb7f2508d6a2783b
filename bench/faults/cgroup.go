package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroup bounds the memory of a process, in version 1 or 2 of cgroups(7).
type cgroup struct {
	dir  string
	used string // file with the peak
}

// newCgroup needs the right to make one: root's, or a delegated subtree.
func newCgroup(name string, limit int) (*cgroup, error) {
	var errs []error
	for _, v := range []struct{ root, limit, peak string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"},
		{"/sys/fs/cgroup", "memory.max", "memory.peak"},
	} {
		g := &cgroup{dir: filepath.Join(v.root, name), used: v.peak}
		if _, err := os.Stat(v.root); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := os.Mkdir(g.dir, 0o755); err != nil { //nolint:gosec // as the others there
			errs = append(errs, err)
			continue
		}
		err := os.WriteFile(filepath.Join(g.dir, v.limit), []byte(strconv.Itoa(limit)), 0o600)
		if err == nil {
			return g, nil
		}
		errs = append(errs, err, os.Remove(g.dir))
	}
	return nil, fmt.Errorf("make a cgroup with a memory limit: %w", errors.Join(errs...))
}

func (g *cgroup) add(pid int) error {
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return fmt.Errorf("put pid %d under a memory limit: %w", pid, err)
	}
	return nil
}

// peak is the most memory that was in use, page cache included.
func (g *cgroup) peak() (int, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, g.used))
	if err != nil {
		return 0, fmt.Errorf("read the peak of memory: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// remove moves what is left to the parent: a group that has processes stays.
func (g *cgroup) remove() {
	text, _ := os.ReadFile(filepath.Join(g.dir, "cgroup.procs")) // none, at worst
	for _, pid := range strings.Fields(string(text)) {
		_ = os.WriteFile(filepath.Join(filepath.Dir(g.dir), "cgroup.procs"), []byte(pid), 0o600)
	}
	_ = os.Remove(g.dir)
}
