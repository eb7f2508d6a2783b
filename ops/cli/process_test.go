//go:build unix

package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/gapless/gapless/internal/testkit"
)

// process is a service in a process of its own.
type process struct {
	cmd *exec.Cmd
	out testkit.Buffer
	ops string
}

func startProgram(t *testing.T, env map[string]string, args ...string) *process {
	t.Helper()
	p := &process{ops: freeAddr(t)}
	list := []string{"GAPLESS_LOG_LEVEL=debug", "GAPLESS_OPS_LISTEN=" + p.ops}
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	p.cmd = child(t, list, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(t) })
	return p
}

func (p *process) end(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &p.out)
	}
}

// shows is what others on the machine and on the operators' port see.
func (p *process) shows(t *testing.T) string {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	seen := []string{string(line)}
	for _, path := range []string{"/metrics", "/status", "/readyz", "/livez", "/version", "/debug/vars"} {
		_, body := get(t, "http://"+p.ops+path)
		seen = append(seen, body)
	}
	return strings.Join(seen, "\n")
}
