//go:build unix && jvm

package main

import (
	"context"
	"net"
	"strings"
	"testing"
)

func TestKafkaInTheBackground(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code, address, stderr := call(t.Context(), "kafka", "start", "--dir", dir)
	if code != 0 {
		t.Fatalf("start: code %d, %s", code, stderr)
	}
	t.Cleanup(func() { call(context.Background(), "kafka", "stop", "--dir", dir) })
	if code, version, stderr := call(t.Context(), "kafka", "version", "--dir", dir); code != 0 || version != "v4.1\n" {
		t.Errorf("version: code %d, %q, %s", code, version, stderr)
	}
	if code, _, stderr := call(t.Context(), "kafka", "start", "--dir", dir); code != 1 || !strings.Contains(stderr, "already") {
		t.Errorf("second start: code %d, %s", code, stderr)
	}
	if code, _, stderr := call(t.Context(), "kafka", "stop", "--dir", dir); code != 0 {
		t.Errorf("stop: code %d, %s", code, stderr)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", strings.TrimSpace(address))
	if err != nil {
		t.Fatalf("port is left: %v", err)
	}
	l.Close()
}
