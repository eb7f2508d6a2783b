//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/process"
)

const (
	lockFile    = "daemon.lock"
	pidFile     = "daemon.pid"
	logFile     = "daemon.log"
	addressFile = "address" // exists while the server answers

	startTimeout = 5 * time.Minute // covers a first fetch
	stopTimeout  = 40 * time.Second
	poll         = 20 * time.Millisecond
)

// daemon is a server in the background, known by its directory.
type daemon struct{ server, dir string }

func (d daemon) path(name string) string { return filepath.Join(d.dir, name) }

// running tells whether a daemon holds the lock. A pid alone would not tell: after
// a reboot it is somebody else's.
func (d daemon) running(ctx context.Context) (bool, error) {
	if _, err := os.Stat(d.path(lockFile)); os.IsNotExist(err) {
		return false, nil
	}
	now, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	unlock, err := process.LockFile(now, d.path(lockFile))
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	unlock()
	return false, nil
}

// start leaves a daemon running and prints its address. When ctx ends first, the
// daemon is stopped.
func (d daemon) start(ctx context.Context, stdout io.Writer) error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil { //nolint:gosec // holds test data
		return fmt.Errorf("create directory: %w", err)
	}
	if running, err := d.running(ctx); err != nil || running {
		return errors.Join(err, fmt.Errorf("start %s: one runs in %s already", d.server, d.dir))
	}
	if err := os.Remove(d.path(addressFile)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove old address: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	log, err := os.OpenFile(d.path(logFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(self, d.server, "run", "--dir", d.dir) //nolint:gosec,noctx // ourselves; it outlives this process
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", d.server, err)
	}
	var ending error
	ended := make(chan struct{})
	go func() {
		ending = cmd.Wait()
		close(ended)
	}()

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if address, err := os.ReadFile(d.path(addressFile)); err == nil {
			_, err = stdout.Write(address)
			return err
		}
		select {
		case <-ended:
			words, _ := os.ReadFile(d.path(logFile))
			return fmt.Errorf("start %s: it ended: %w\n%s", d.server, ending, words)
		case <-ctx.Done():
			err := cmd.Process.Signal(syscall.SIGTERM)
			<-ended
			return errors.Join(fmt.Errorf("start %s: %w", d.server, ctx.Err()), err)
		case <-tick.C:
		}
	}
}

// stop ends the daemon and waits until its lock is free.
func (d daemon) stop(ctx context.Context) error {
	if running, err := d.running(ctx); err != nil || !running {
		return err
	}
	b, err := os.ReadFile(d.path(pidFile))
	if err != nil {
		return fmt.Errorf("stop %s: %w", d.server, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("stop %s: %w", d.server, err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop %s: %w", d.server, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	unlock, err := process.LockFile(ctx, d.path(lockFile))
	if err != nil {
		return fmt.Errorf("stop %s: %w", d.server, err)
	}
	unlock()
	return nil
}

// server is what both servers have in common.
type server interface {
	Done() <-chan struct{}
	Stop(ctx context.Context) error
}

// run is the daemon: it holds the lock, starts the server and ends with ctx or
// with the server.
func (d daemon) run(ctx context.Context, stderr io.Writer) error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil { //nolint:gosec // holds test data
		return fmt.Errorf("create directory: %w", err)
	}
	// Longer than the moment for which running holds it to look.
	claim, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	unlock, err := process.LockFile(claim, d.path(lockFile))
	if err != nil {
		return fmt.Errorf("run %s: one runs in %s already: %w", d.server, d.dir, err)
	}
	defer unlock()
	if err := os.WriteFile(d.path(pidFile), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return fmt.Errorf("write pid: %w", err)
	}
	defer func() { _ = os.Remove(d.path(pidFile)) }() // the lock is what counts
	s, address, err := d.launch(ctx, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	err = d.publish(address)
	if err == nil {
		select {
		case <-ctx.Done():
		case <-s.Done():
			err = fmt.Errorf("run %s: it ended by itself, see %s", d.server, d.path("server.log"))
		}
	}
	if e := os.Remove(d.path(addressFile)); e != nil && !os.IsNotExist(e) {
		err = errors.Join(err, fmt.Errorf("remove address: %w", e))
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, s.Stop(end))
}

func (d daemon) launch(ctx context.Context, logger *slog.Logger) (server, string, error) {
	if d.server == "apicurio" {
		a, err := kafkaserver.StartApicurio(ctx, kafkaserver.ApicurioConfig{Dir: d.dir, Logger: logger})
		if err != nil {
			return nil, "", err
		}
		return a, a.URL(), nil
	}
	k, err := kafkaserver.StartKafka(ctx, kafkaserver.KafkaConfig{Dir: d.dir, Logger: logger})
	if err != nil {
		return nil, "", err
	}
	return k, strings.Join(k.Brokers(), ","), nil
}

// publish writes the address whole or not at all: start reads it while we write.
func (d daemon) publish(address string) error {
	tmp := d.path(addressFile + ".tmp")
	if err := os.WriteFile(tmp, []byte(address+"\n"), 0o644); err != nil { //nolint:gosec // an address
		return fmt.Errorf("write address: %w", err)
	}
	if err := os.Rename(tmp, d.path(addressFile)); err != nil {
		return fmt.Errorf("write address: %w", err)
	}
	return nil
}
