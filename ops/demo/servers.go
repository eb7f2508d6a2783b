package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/ops/schema"
)

// servers are what the pipeline stands on: the user's own where the Config names
// them, else embedded ones that end with the demo.
type servers struct {
	databaseURL string
	brokers     []string
	registryURL string

	postgres *pgserver.Server
	broker   *kfake.Cluster
	registry *schema.Local
}

func startServers(ctx context.Context, c Config) (s *servers, err error) {
	s = &servers{databaseURL: c.DatabaseURL, brokers: c.Brokers, registryURL: c.RegistryURL}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop(ctx))
		}
	}()
	if s.databaseURL == "" {
		pg := pgserver.Config{Logger: c.Logger, Settings: map[string]string{"max_connections": "200"}}
		if c.DataDir != "" {
			pg.DataDir, pg.Durable = filepath.Join(c.DataDir, "postgres"), true
		}
		if s.postgres, err = pgserver.Start(ctx, pg); err != nil {
			return s, fmt.Errorf("start Postgres: %w", err)
		}
		s.databaseURL = s.postgres.SuperuserURL()
	}
	if len(s.brokers) == 0 {
		// One broker, and no delay before a group's first generation.
		opts := []kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"})}
		if c.DataDir != "" {
			opts = append(opts, kfake.DataDir(filepath.Join(c.DataDir, "kafka")), kfake.SyncWrites())
		}
		if s.broker, err = kfake.NewCluster(opts...); err != nil {
			return s, fmt.Errorf("start broker: %w", err)
		}
		s.brokers = s.broker.ListenAddrs()
	}
	return s, nil
}

// startRegistry starts the in-process registry, filled with what the database
// holds, so that ids stay the same from one demo to the next.
func (s *servers) startRegistry(ctx context.Context, db *pgxpool.Pool) (err error) {
	if s.registryURL != "" {
		return nil
	}
	if s.registry, err = schema.StartLocal(ctx, db); err != nil {
		return fmt.Errorf("start registry: %w", err)
	}
	s.registryURL = s.registry.URL()
	return nil
}

// stop ends the embedded servers, last started first.
func (s *servers) stop(ctx context.Context) error {
	var errs []error
	if s.registry != nil {
		errs = append(errs, s.registry.Close())
	}
	if s.broker != nil {
		s.broker.Close()
	}
	if s.postgres != nil {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 20*time.Second, errors.New("timeout"))
		defer cancel()
		if err := s.postgres.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop Postgres: %w", err))
		}
	}
	return errors.Join(errs...)
}
