package bed

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gapless/gapless/internal/process"
)

// Build builds the program into dir, with more flags of go build, and returns its
// path.
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	path := filepath.Join(dir, "gapless")
	args := append([]string{"build", "-o", path}, flags...)
	return path, Command(ctx, os.Environ(), "go", append(args, "github.com/gapless/gapless")...)
}

// Command runs a command to its end. Its error holds what the command printed.
func Command(ctx context.Context, env []string, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = env
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return nil
}

// WaitReady waits until url (of /readyz) answers 200, half a minute at most.
func WaitReady(ctx context.Context, url string, p *process.Process) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for {
		if isOK(ctx, client, url) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", url, ctx.Err())
		case <-p.Done():
			return fmt.Errorf("ended before it was ready: %w", p.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func isOK(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
