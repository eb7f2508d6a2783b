//go:build unix

package pgserver

import (
	"io"
	"os"
	"strings"
)

const tailLines = 20

// tail returns the last lines of a log for an error message.
func tail(path string) string {
	const window = 16 << 10
	f, err := os.Open(path)
	if err != nil {
		return "(no log)"
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > window {
		if _, err := f.Seek(-window, io.SeekEnd); err != nil {
			return "(no log)"
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, window))
	if err != nil {
		return "(no log)"
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
