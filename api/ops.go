package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/internal/health"
	"github.com/gapless/gapless/sql"
)

// readyTimeout is short: a probe has a deadline of its own.
const readyTimeout = time.Second

// opsHandler is health, metrics and version, for operators and orchestrators.
func (s *Server) opsHandler() http.Handler {
	c := health.Config{Component: "api", Version: s.cfg.Version, Ready: func(ctx context.Context) []health.Check {
		check := health.Check{Name: "api", OK: true}
		if err := s.Ready(ctx); err != nil {
			check.OK, check.Detail = false, err.Error()
		}
		return []health.Check{check}
	}}
	if g, ok := s.cfg.Registerer.(prometheus.Gatherer); ok {
		c.Gatherer = g
	}
	return health.Handler(c)
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
