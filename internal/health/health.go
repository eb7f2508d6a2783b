// Package health serves the operator's endpoints, in one form for every service:
// /livez, /readyz, /status, /version, /metrics.
//
// Liveness says that the process answers, nothing more: a restart mends no
// dependency. Readiness says whether the process can do its own job, and if not,
// why: in words, and with ?verbose as the JSON of all checks.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
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
	// Listen is the address, host:port. Listener, if set, is bound to it already.
	Listen   string
	Listener net.Listener
	// Component and Version are what /version and /status name.
	Component, Version string
	// Gatherer for /metrics.
	Gatherer prometheus.Gatherer
	// Ready returns the checks; it is called for each request and must be quick.
	// nil means always ready.
	Ready func(context.Context) []Check
	// Status is the state that /status shows beside the checks. Optional.
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
	if c.Listener != nil {
		return &Server{c, c.Listener}, nil
	}
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
		Handler:           Handler(s.config),
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

// Handler serves the endpoints on a server of the caller's.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", c.ready)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, version{c.Component, c.Version})
	})
	mux.HandleFunc("GET /status", c.status)
	if c.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true}))
	}
	if c.Profile {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

type version struct {
	Component string `json:"component"`
	Version   string `json:"version"`
}

func (c Config) checks(ctx context.Context) (all []Check, ready bool) {
	all = []Check{} // JSON: [] and not null
	if c.Ready != nil {
		all = append(all, c.Ready(ctx)...)
	}
	return all, !slices.ContainsFunc(all, func(check Check) bool { return !check.OK })
}

func (c Config) ready(w http.ResponseWriter, r *http.Request) {
	checks, ready := c.checks(r.Context())
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	if r.URL.Query().Has("verbose") {
		writeJSON(w, status, checks)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if ready {
		fmt.Fprintln(w, "ok")
	}
	for _, check := range checks {
		if !check.OK {
			fmt.Fprintf(w, "%s: %s\n", check.Name, check.Detail)
		}
	}
}

func (c Config) status(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		version
		Ready  bool    `json:"ready"`
		Checks []Check `json:"checks"`
		State  any     `json:"state,omitempty"`
	}{version: version{c.Component, c.Version}}
	answer.Checks, answer.Ready = c.checks(r.Context())
	if c.Status != nil {
		answer.State = c.Status()
	}
	writeJSON(w, http.StatusOK, answer)
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
