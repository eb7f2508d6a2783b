//go:build unix

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets this binary be the daemon: start executes itself with the verb run.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[2] == "run" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func call(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(ctx, args, &out, &err)
	return code, out.String(), err.String()
}

func TestUsageIsExitTwo(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		nil,
		{"kafka"},
		{"kafka", "start"},
		{"kafka", "version"},
		{"kafka", "dance", "--dir", t.TempDir()},
		{"rabbit", "start", "--dir", t.TempDir()},
		{"apicurio", "version", "--dir", t.TempDir()},
		{"kafka", "start", "--directory", t.TempDir()},
		{"kafka", "start", "--dir", t.TempDir(), "now"},
	} {
		if code, stdout, stderr := call(t.Context(), args...); code != 2 || stdout != "" || !strings.HasPrefix(stderr, "usage:") {
			t.Errorf("%q: code %d, %q, want 2 and the usage", args, code, stderr)
		}
	}
}

func TestStopOfNothingIsDone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if code, _, stderr := call(t.Context(), "kafka", "stop", "--dir", dir); code != 0 {
		t.Errorf("code %d, %s", code, stderr)
	}
	// A daemon that was killed leaves its pid, which is another process's by now.
	for name, content := range map[string]string{lockFile: "", pidFile: "1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := call(t.Context(), "kafka", "stop", "--dir", dir); code != 0 {
		t.Errorf("after a kill: code %d, %s", code, stderr)
	}
}

func TestVersionWithoutABrokerFails(t *testing.T) {
	t.Parallel()
	if code, _, stderr := call(t.Context(), "kafka", "version", "--dir", t.TempDir()); code != 1 || stderr == "" {
		t.Errorf("code %d, %q, want 1 and a reason", code, stderr)
	}
}
