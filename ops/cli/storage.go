package cli

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// storage are the flags of every command that is about the state of relays.
type storage struct {
	State      string `help:"Where the relay's state is: postgres (schema gapless), kafka (a compacted topic), or auto: the schema where it is or may be made, else the topic." enum:"auto,postgres,kafka" default:"auto"`
	StateTopic string `help:"Topic of a state that is in Kafka." default:"gapless.relay.state" placeholder:"NAME"`
}

// place is relay's word for it.
func (s storage) place() relay.Place {
	if s.State == "auto" {
		return relay.Auto
	}
	return relay.Place(s.State)
}

// makesSchema makes what a relay keeps in the database.
func (d database) makesSchema(log func(string, ...any)) func(context.Context) error {
	return func(ctx context.Context) error {
		url, err := d.url()
		if err != nil {
			return err
		}
		pool, err := d.pool(ctx, 1)
		if err != nil {
			return err
		}
		defer pool.Close()
		var mayMakeRoles bool
		if err := pool.QueryRow(ctx, sql.OpsMayMakeRoles).Scan(&mayMakeRoles); err != nil {
			return fmt.Errorf("look for the right to make roles: %w", err)
		}
		done, err := goose.Up(ctx, goose.Config{DatabaseURL: url, Components: []string{"outbox"}, NoRoles: !mayMakeRoles, NoSlot: true})
		if err != nil {
			return fmt.Errorf("%w: do it by 'gapless migrate up --component outbox', or choose --state kafka", err)
		}
		log("schema gapless migrated", "migrations", len(done))
		return nil
	}
}

// where finds out, for a command, whether the state is in Kafka, and how it is reached
// there; nil when it is in the database.
func (s storage) where(ctx context.Context, pool *pgxpool.Pool, k kafka, e *env) (*inspect.InKafka, error) {
	if s.State == "postgres" {
		return nil, nil
	}
	if s.State == "auto" {
		made, err := inspect.HasState(ctx, pool)
		if err != nil || made {
			return nil, err
		}
		if len(k.Brokers) == 0 {
			return nil, usage("this database has no schema gapless, so no state of a relay: for one that is in Kafka name its --brokers")
		}
	}
	cluster, err := k.reach(ctx)
	if err != nil {
		return nil, err
	}
	return &inspect.InKafka{DB: pool, Config: kafkastate.Config{
		Brokers: cluster.seeds, Options: cluster.options, Topic: s.StateTopic, Logger: e.quiet(),
	}}, nil
}
