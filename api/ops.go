package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gapless/gapless/sql"
)

// readyTimeout is short: a probe has a deadline of its own.
const readyTimeout = time.Second

// newOpsRouter is health, metrics and version, for operators and orchestrators.
func (s *Server) newOpsRouter() http.Handler {
	r := chi.NewRouter()
	r.Get("/livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	r.Get("/readyz", s.readyz)
	r.Get("/version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"component": "api", "version": s.cfg.Version})
	})
	if g, ok := s.cfg.Registerer.(prometheus.Gatherer); ok {
		r.Handle("/metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	}
	return r
}

// Ready returns nil if the server can do its job, which takes Postgres and
// nothing else, and otherwise why it cannot.
func (s *Server) Ready(ctx context.Context) error {
	select {
	case <-s.started:
	default:
		return errStarting
	}
	select {
	case <-s.draining:
		return errDraining
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	var migrated bool
	err := s.db.QueryRow(ctx, sql.CheckoutReady).Scan(&migrated)
	switch {
	case err != nil:
		s.dbDown(err)
		return fmt.Errorf("postgres: %w", err)
	case !migrated:
		return errNotMigrated
	}
	s.dbUp()
	return nil
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	err := s.Ready(r.Context())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, verbose := r.URL.Query()["verbose"]
	switch {
	case err == nil && verbose:
		fmt.Fprint(w, "[+]postgres ok\nreadyz check passed\n")
	case err == nil:
		fmt.Fprintln(w, "ok")
	default:
		fmt.Fprintf(w, "[-]%v\nreadyz check failed\n", err)
	}
}
