// Package health serves the operator's endpoints of a process without an API:
// /livez, /readyz, /metrics, /version.
//
// Liveness says that the process answers, nothing more: a restart mends no
// dependency. Readiness says whether the process can do its own job, and with
// ?verbose why not.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Check is one thing that must hold for the process to be ready.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Config of the server.
type Config struct {
	// Listen is the address, host:port.
	Listen string
	// Version is what /version prints.
	Version string
	// Gatherer for /metrics.
	Gatherer prometheus.Gatherer
	// Ready returns the checks; it is called for each request and must be quick.
	// nil means always ready.
	Ready func() []Check
	// Status, if set, is served as JSON at /status.
	Status func() any
	// Profile serves /debug/pprof/. It costs nothing until it is asked.
	Profile bool
}

// Server serves the endpoints.
type Server struct {
	config   Config
	listener net.Listener
}

// Listen binds the address, so that a port in use is found before anything
// else is started.
func Listen(ctx context.Context, c Config) (*Server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for operators on %s: %w", c.Listen, err)
	}
	return &Server{c, l}, nil
}

// Addr is the address that was bound.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends and its requests are over, at most two seconds
// later.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.config.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	var g errgroup.Group
	g.Go(func() error {
		if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve operators: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 2*time.Second, errors.New("operators' requests did not end"))
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			return server.Close()
		}
		return nil
	})
	return g.Wait()
}

func (c Config) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", c.ready)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, c.Version) })
	if c.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	}
	if c.Profile {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	if c.Status != nil {
		mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, c.Status()) })
	}
	return mux
}

func (c Config) ready(w http.ResponseWriter, r *http.Request) {
	var checks []Check
	if c.Ready != nil {
		checks = c.Ready()
	}
	status := http.StatusOK
	for _, check := range checks {
		if !check.OK {
			status = http.StatusServiceUnavailable
		}
	}
	if r.URL.Query().Has("verbose") {
		writeJSON(w, status, checks)
		return
	}
	w.WriteHeader(status)
	fmt.Fprintln(w, http.StatusText(status))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return // the reader has gone away
	}
}
