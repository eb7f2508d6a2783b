//go:build unix

package kafkaserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gapless/gapless/internal/process"
)

const (
	stopGrace = 15 * time.Second
	killGrace = 10 * time.Second
	pollReady = 50 * time.Millisecond
)

// jvm is a Java server with a directory. Its exported methods are those of the
// servers that embed it, and may be called concurrently.
type jvm struct {
	name   string
	dir    string
	temp   bool
	java   string
	args   []string
	ready  func(context.Context) error
	logger *slog.Logger

	mu      sync.Mutex // one of launch, stop, kill at a time
	removed bool

	procMu sync.Mutex // guards proc alone, so that Pid and Done never wait for a stop
	proc   *process.Process
}

// kafkaOptions are what Kafka's own scripts (bin/kafka-run-class.sh) give every JVM, with a
// heap of leastMB to mostMB: what is measured on one should pause as its users' does.
func kafkaOptions(leastMB, mostMB int) []string {
	return []string{
		"-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
		"-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxInlineLevel=15", "-Djava.awt.headless=true",
		fmt.Sprintf("-Xms%dm", leastMB), fmt.Sprintf("-Xmx%dm", mostMB), "-Dorg.slf4j.simpleLogger.showDateTime=true",
	}
}

// newDir returns dir, made, or a temporary one.
func newDir(dir, prefix string) (_ string, temp bool, err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", prefix)
		if err != nil {
			return "", false, fmt.Errorf("create directory: %w", err)
		}
		return dir, true, nil
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", false, fmt.Errorf("resolve directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // holds test data
		return "", false, fmt.Errorf("create directory: %w", err)
	}
	return dir, false, nil
}

// errPortTaken is a lost race for a port that we chose.
var errPortTaken = errors.New("port was taken by another program")

// onFreePorts tries until the ports that try chose are ours. When it fails, the
// directory is gone.
func (j *jvm) onFreePorts(try func() error) error {
	const attempts = 5
	for n := 1; ; n++ {
		err := try()
		if err == nil {
			return nil
		}
		if n == attempts || !errors.Is(err, errPortTaken) {
			return errors.Join(err, j.cleanUp())
		}
	}
}

// launch starts the program and waits until it is ready. When that fails, nothing
// runs.
func (j *jvm) launch(ctx context.Context) error {
	log, err := os.OpenFile(j.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	offset, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	p, err := process.Start(process.Command{Path: j.java, Args: j.args, Dir: j.dir, Output: log})
	if err != nil {
		return err
	}
	j.procMu.Lock()
	j.proc = p
	j.procMu.Unlock()
	if err := j.waitReady(ctx, p); err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
		defer cancel()
		err = errors.Join(err, p.KillTree(end))
		words := logFrom(j.LogFile(), offset)
		if strings.Contains(words, "Address already in use") || strings.Contains(words, "already bound") {
			err = errors.Join(errPortTaken, err)
		}
		return fmt.Errorf("start %s: %w\n%s", j.name, err, lastLines(words))
	}
	j.logger.Info("server started", "server", j.name, "pid", p.Pid(), "dir", j.dir)
	return nil
}

func (j *jvm) waitReady(ctx context.Context, p *process.Process) error {
	tick := time.NewTicker(pollReady)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := j.ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("server ended: %w", errors.Join(p.Err(), err))
		case <-ctx.Done():
			return fmt.Errorf("wait until it answers: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// Stop ends the server with SIGTERM, after 15 s (or when ctx ends) with SIGKILL,
// and removes a temporary directory. A second call does nothing.
func (j *jvm) Stop(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.removed {
		return nil
	}
	if err := j.halt(ctx); err != nil {
		return err
	}
	j.removed = true
	return j.cleanUp()
}

func (j *jvm) cleanUp() error {
	if !j.temp {
		return nil
	}
	if err := os.RemoveAll(j.dir); err != nil {
		return fmt.Errorf("remove directory: %w", err)
	}
	return nil
}

// Restart stops the server if it runs and starts it again on the same ports and
// data.
func (j *jvm) Restart(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.removed {
		return fmt.Errorf("restart %s: it was stopped for good", j.name)
	}
	if err := j.halt(ctx); err != nil {
		return err
	}
	return j.launch(ctx)
}

// Kill ends the server with SIGKILL and returns when it is gone. Data and ports
// stay for a Restart.
func (j *jvm) Kill(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.process().KillTree(ctx); err != nil {
		return fmt.Errorf("kill %s: %w", j.name, err)
	}
	j.logger.Info("server killed", "server", j.name)
	return nil
}

// Pause stops the server with SIGSTOP: its connections stay open and nothing
// answers. Resume undoes it.
func (j *jvm) Pause() error { return j.process().SignalGroup(syscall.SIGSTOP) }

// Resume continues a paused server.
func (j *jvm) Resume() error { return j.process().SignalGroup(syscall.SIGCONT) }

func (j *jvm) halt(ctx context.Context) error {
	p := j.process()
	for _, s := range []syscall.Signal{syscall.SIGCONT, syscall.SIGTERM} {
		if err := p.SignalGroup(s); err != nil {
			return fmt.Errorf("stop %s: %w", j.name, err)
		}
	}
	patience, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	if p.Wait(patience) == nil {
		j.logger.Info("server stopped", "server", j.name)
		return nil
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
	defer cancel()
	if err := p.KillTree(end); err != nil {
		return fmt.Errorf("stop %s: %w", j.name, err)
	}
	j.logger.Warn("server did not stop and was killed", "server", j.name)
	return nil
}

// Pid is the server's process id; after it has ended, the last one.
func (j *jvm) Pid() int { return j.process().Pid() }

// Done is closed when the server has ended. After a Restart it is a new channel.
func (j *jvm) Done() <-chan struct{} { return j.process().Done() }

// LogFile is what the server writes to stdout and stderr.
func (j *jvm) LogFile() string { return filepath.Join(j.dir, "server.log") }

// Dir is the server's directory.
func (j *jvm) Dir() string { return j.dir }

func (j *jvm) process() *process.Process {
	j.procMu.Lock()
	defer j.procMu.Unlock()
	return j.proc
}

func logFrom(path string, offset int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < offset {
		return ""
	}
	return string(b[offset:])
}

func lastLines(s string) string {
	const count = 20
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
