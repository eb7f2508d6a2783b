package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/internal/health"
	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/relay"
)

// recordBytes is what 'topics apply' lets every topic take: the largest payload
// that the outbox takes has a megabyte, and its headers come on top. A topic that
// takes less is found out at its first refusal.
const recordBytes = 2 << 20

type relayCommands struct {
	Run     relayRun     `cmd:"" default:"withargs" help:"Stream the outbox to Kafka (the default)."`
	Status  relayStatus  `cmd:"" help:"Where each relay of this database is, and how far behind."`
	Pause   relayPause   `cmd:"" help:"Send nothing until 'relay resume'; for all relays of the slot."`
	Resume  relayResume  `cmd:"" help:"Go on after 'relay pause'."`
	Redrive relayRedrive `cmd:"" help:"Send parked rows, and what waits behind them, in the order of their keys."`
	Discard relayDiscard `cmd:"" help:"Give parked rows up, and let what waits behind them go."`
	Replay  relayReplay  `cmd:"" help:"Send rows of an outbox table again: by time, aggregate, type or id."`
	Replays relayReplays `cmd:"" help:"Replays, and how far each is."`
	Import  relayImport  `cmd:"" help:"Make a configuration of a Debezium connector's."`
}

type relayStatus struct {
	database
	output
	Slot string `help:"Only this slot." placeholder:"NAME"`
}

func (c *relayStatus) Run(ctx context.Context, e *env) error {
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	relays, err := inspect.Relays(ctx, pool, c.Slot)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.write(e, relays, func(*tabwriter.Writer) {})
	}
	if len(relays) == 0 {
		_, err := fmt.Fprintln(e.stdout, "no slot and no progress of a relay in this database: run 'gapless migrate up'")
		return err
	}
	return inspect.WriteRelays(e.stdout, relays)
}

type relayRun struct {
	database
	kafka
	topicCreation
	OpsListen   string `help:"Address of health and metrics." default:"127.0.0.1:9082"`
	Pprof       bool   `help:"Serve Go profiles at /debug/pprof/ of --ops-listen." name:"pprof"`
	Slot        string `help:"Replication slot." default:"gapless"`
	CreateSlot  bool   `help:"Make the slot when it is missing, beside others of the publication. Only a first start makes one, and only while the tables are empty."`
	Publication string `help:"Publication." default:"gapless"`

	MetricsDebezium string `help:"Show metrics under Debezium's names too, with this connector's name (topic.prefix)." placeholder:"NAME"`

	Retention age `help:"Drop daily partitions of gapless.outbox that are this old (7d, 36h) and relayed; 0 keeps all." default:"0"`

	OnFault map[string]string `help:"What becomes of rows that cannot be sent, by reason: block-key (the default), skip or halt." mapsep:"," placeholder:"too_large=skip,…"`
}

func (c *relayRun) Run(ctx context.Context, e *env) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	cluster, err := c.cluster()
	if err != nil {
		return err
	}
	tables, err := e.file.tables()
	if err != nil {
		return err
	}
	wanted := topics.Config{Brokers: cluster.seeds, KafkaOptions: cluster.options}
	withShop, err := c.pipelineInstalled(ctx)
	if err != nil {
		return err
	}
	if withShop {
		wanted = relayTopics(cluster)
	}
	onFault := map[string]relay.Policy{}
	for reason, policy := range c.OnFault {
		onFault[reason] = relay.Policy(policy)
	}
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: cluster.seeds, Options: cluster.options, MaxRecordBytes: recordBytes, Logger: e.log})
	if err != nil {
		return usageError{err}
	}
	registry := e.metrics()
	r, err := relay.New(relay.Config{
		DatabaseURL: url, BeforeConnect: pgconnect.Fresh(c.url), Slot: c.Slot, CreateSlot: c.CreateSlot, Publication: c.Publication, Tables: tables, OnFault: onFault, Sink: sink,
		Retention: relay.Retention{Outbox: c.Retention.Duration, Tables: e.file.retentions()}, Logger: e.log, Registerer: registry,
	})
	if err != nil {
		return usageError{err}
	}
	if c.MetricsDebezium != "" {
		if err := registry.Register(relay.DebeziumMetrics(r, c.MetricsDebezium)); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	door := newEntrance(cluster, wanted, c.CreateTopics, e.log)
	ops, err := health.Listen(ctx, health.Config{
		Listen: c.OpsListen, Component: "relay", Version: e.version, Gatherer: registry, Profile: c.Pprof,
		Ready: func(context.Context) []health.Check {
			if shut := door.check(); shut != nil {
				return shut
			}
			return relayChecks(r.Status())
		},
		Status: func() any { return r.Status() },
	})
	if err != nil {
		return err
	}
	return pipeline.Together(ctx, door.then(r.Run), ops.Run)
}

// pipelineInstalled tells whether the topics of the order pipeline are needed.
// An outbox of its own has topics of its own. A database that is away is the
// relay's to wait for.
func (c *relayRun) pipelineInstalled(ctx context.Context) (bool, error) {
	pool, err := c.pool(ctx, 1)
	if err != nil {
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code != "57P03" && pg.Code != "53300" {
			return false, err
		}
		if _, ok := errors.AsType[usageError](err); ok || ctx.Err() != nil {
			return false, err
		}
		return false, nil
	}
	defer pool.Close()
	found, err := installed(ctx, pool)
	return found.Pipeline, err
}

func relayChecks(s relay.Status) []health.Check {
	detail := string(s.State)
	if s.Reason != "" {
		detail += ": " + s.Reason
	}
	return []health.Check{{Name: "relay", OK: s.Ready(), Detail: detail}}
}
