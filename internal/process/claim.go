//go:build unix

package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"time"
)

// LockFile takes an exclusive flock(2) on path, which is created. The kernel gives
// it back when the process dies.
func LockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644) //nolint:gosec // holds nothing
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

// FreePort returns a port of 127.0.0.1 that nobody listens on at this moment. It lies
// below the ports that systems give to outgoing connections (RFC 6335 begins them at
// 49152, Linux at 32768), so that no client's connection takes it before the server
// binds it, or while the server is restarted on it.
func FreePort(ctx context.Context) (int, error) {
	const lowest, above, tries = 20000, 32768, 100
	var err error
	for range tries {
		port := lowest + rand.IntN(above-lowest) //nolint:gosec // spreads processes, guards nothing
		var l net.Listener
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}
