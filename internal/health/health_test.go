package health_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEndpoints(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gapless_test_value", Help: "A value."}, func() float64 { return 7 }))
	s, err := health.Listen(t.Context(), health.Config{
		Listen: "127.0.0.1:0", Component: "relay", Version: "1.2.3", Gatherer: registry,
		Ready: func(context.Context) []health.Check {
			return []health.Check{{Name: "slot", OK: up.Load(), Detail: "held by another"}}
		},
		Status: func() any { return map[string]int{"sent": 3} }, Profile: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	want := func(path string, status int, text string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || !strings.Contains(string(body), text) {
			t.Fatalf("GET %s: %d %q (%v), want %d with %q", path, resp.StatusCode, body, err, status, text)
		}
	}
	want("/livez", 200, "ok")
	want("/readyz", 503, "slot: held by another\n")
	want("/readyz?verbose", 503, `"ok": false,
    "detail": "held by another"`)
	want("/status", 200, `"ready": false`)
	up.Store(true)
	want("/readyz", 200, "ok\n")
	want("/version", 200, `{
  "component": "relay",
  "version": "1.2.3"
}`)
	want("/status", 200, `"component": "relay",
  "version": "1.2.3",
  "ready": true,
  "checks": [`)
	want("/metrics", 200, "gapless_test_value 7")
	want("/status", 200, `"sent": 3`)
	want("/debug/pprof/", 200, "goroutine")
	want("/nothing", 404, "")

	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestListenSaysWhere(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = health.Listen(t.Context(), health.Config{Listen: l.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Fatalf("error %v does not name the address", err)
	}
}
