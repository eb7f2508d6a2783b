package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/internal/health"
	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/ops/debezium"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// recordBytes is what 'topics apply' lets every topic take: the largest payload
// that the outbox takes has a megabyte, and its headers come on top. A topic that
// takes less is found out at its first refusal.
const recordBytes = 2 << 20

func (c cluster) sink(log *slog.Logger) (*relay.KafkaSink, error) {
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: c.seeds, Options: c.options, MaxRecordBytes: recordBytes, Logger: log})
	if err != nil {
		return nil, usageError{err}
	}
	return sink, nil
}

type relayRun struct {
	database
	kafka
	topicCreation
	storage
	OpsListen   string `help:"Address of health and metrics." default:"127.0.0.1:9082"`
	Pprof       bool   `help:"Serve Go profiles at /debug/pprof/ of --ops-listen." name:"pprof"`
	Slot        string `help:"Replication slot." default:"gapless"`
	CreateSlot  bool   `help:"Make the slot when it is missing, beside others of the publication. Only a first start makes one, and only while the tables are empty."`
	Publication string `help:"Publication." default:"gapless"`

	DebeziumOffsets string `help:"Take the slot over where Debezium is, by Connect's topic of offsets or the file of a standalone worker or Debezium Server. For the first start: later the relay has a record of its own." placeholder:"TOPIC|FILE"`
	DebeziumTopics  bool   `help:"Take the slot over where Debezium is, by the events at the ends of its topics: for offsets that are lost. For the first start, likewise."`

	heartbeat
	messages

	SignalTable string `help:"Table of the publication by which others signal to the relay, in Debezium's form: id, type, data." placeholder:"SCHEMA.TABLE"`

	MetricsDebezium string `help:"Show metrics under Debezium's names too, with this connector's name (topic.prefix)." placeholder:"NAME"`

	Retention age `help:"Drop daily partitions of gapless.outbox that are this old (7d, 36h) and relayed; 0 keeps all." default:"0"`

	OnFault map[string]string `help:"What becomes of rows that cannot be sent, by reason: block-key (the default), skip or halt." mapsep:"," placeholder:"too_large=skip,…"`
}

// Run relays until ctx ends, or all relays have.
func (c *relayRun) Run(ctx context.Context, e *env) error {
	e.leanGC()
	registry := e.metrics()
	list, err := c.relays(e, registry)
	if err != nil {
		return err
	}
	ops, err := health.Listen(ctx, health.Config{
		Listen: c.OpsListen, Component: "relay", Version: e.version, Gatherer: registry, Profile: c.Pprof,
		Ready: func(context.Context) []health.Check { return list.checks() }, Status: list.status,
	})
	if err != nil {
		return listenError{err, "--ops-listen"}
	}
	return pipeline.Together(ctx, list.run, ops.Run)
}

// relays makes the one that flags, environment and file describe together, or the
// several of a file. There a flag is for those that say nothing of their own.
func (c *relayRun) relays(e *env, registry prometheus.Registerer) (relays, error) {
	if e.file == nil || len(e.file.Relays) < 2 {
		one, err := c.relay(e.file.one(), e.log, registry)
		if err != nil {
			return nil, err
		}
		return relays{one}, nil
	}
	if c.MetricsDebezium != "" {
		return nil, usage("--metrics-debezium: names one connector, and --config has %d relays: write metrics_debezium into each", len(e.file.Relays))
	}
	if c.DebeziumOffsets != "" {
		// It would be believed of a slot that never was Debezium's, too.
		return nil, usage("--debezium-offsets: is about one slot, and --config has %d relays: write debezium_offsets into those that take a slot over", len(e.file.Relays))
	}
	if c.DebeziumTopics {
		return nil, usage("--debezium-topics: is about one slot, and --config has %d relays: write debezium_topics into those that take a slot over", len(e.file.Relays))
	}
	var list relays
	owners := map[string]string{}
	for i := range e.file.Relays {
		file := &e.file.Relays[i]
		own := c.with(file)
		var err error
		if own.heartbeat, err = c.heartbeat.with(file.Heartbeat); err != nil {
			return nil, usage("relay %s: %w", file.Name, err)
		}
		one, err := own.relay(file, e.log.With("relay", file.Name), prometheus.WrapRegistererWith(prometheus.Labels{"relay": file.Name}, registry))
		if err != nil {
			return nil, usage("relay %s: %w", file.Name, err)
		}
		if other, twice := owners[own.reads()]; twice {
			return nil, usage("relay %s: reads the same slot as %s: one of them would stand by for ever", file.Name, other)
		}
		owners[own.reads()] = file.Name
		one.name = file.Name
		list = append(list, one)
	}
	return list, nil
}

// with is the command for one of several relays.
func (c *relayRun) with(file *RelayFile) *relayRun {
	own := *c
	if file.DatabaseURL != "" {
		own.DatabaseURL, own.DatabasePasswordFile = secret{text: file.DatabaseURL}, ""
	}
	own.DatabasePasswordFile = cmp.Or(file.PasswordFile, own.DatabasePasswordFile)
	own.Slot = cmp.Or(file.Slot, c.Slot)
	own.Publication = cmp.Or(file.Publication, c.Publication)
	own.MetricsDebezium = file.MetricsDebezium
	own.SignalTable = cmp.Or(file.SignalTable, c.SignalTable)
	own.State, own.StateTopic = cmp.Or(file.State, c.State), cmp.Or(file.StateTopic, c.StateTopic)
	own.DebeziumOffsets = file.DebeziumOffsets
	own.DebeziumTopics = file.DebeziumTopics
	if slices.ContainsFunc(file.Tables, func(t TableFile) bool { return t.Messages != "" }) {
		own.Messages = nil
	}
	if file.OnFault != nil {
		own.OnFault = file.OnFault
	}
	if file.Retention != nil {
		own.Retention = *file.Retention
	}
	return &own
}

// reads names the slot among those of all servers.
func (c *relayRun) reads() string {
	config, err := c.poolConfig()
	if err != nil {
		return c.Slot // and it has been refused
	}
	at := config.ConnConfig
	return fmt.Sprintf("%s %d %s %s", at.Host, at.Port, at.Database, c.Slot)
}

// relay makes one. Its sink is its own: a topic that takes nothing, or a client that
// is thrown away, concerns no other database.
func (c *relayRun) relay(file *RelayFile, log *slog.Logger, registry prometheus.Registerer) (*oneRelay, error) {
	url, err := c.url()
	if err != nil {
		return nil, err
	}
	cluster, err := c.cluster()
	if err != nil {
		return nil, err
	}
	tables, err := file.tables()
	if err != nil {
		return nil, err
	}
	messages, err := c.messages.with(file)
	if err != nil {
		return nil, err
	}
	beats, err := c.heartbeat.config(file)
	if err != nil {
		return nil, err
	}
	onFault := map[string]relay.Policy{}
	for reason, policy := range c.OnFault {
		onFault[reason] = relay.Policy(policy)
	}
	sink, err := cluster.sink(log)
	if err != nil {
		return nil, err
	}
	takeOver, err := c.takeOver(cluster, tables)
	if err != nil {
		return nil, err
	}
	r, err := relay.New(relay.Config{
		DatabaseURL: url, BeforeConnect: pgconnect.Fresh(c.url), Slot: c.Slot, CreateSlot: c.CreateSlot, Publication: c.Publication, Tables: tables, Messages: messages, OnFault: onFault, Sink: sink, TakeOver: takeOver, TakeOverTopics: c.DebeziumTopics,
		Storage: relay.Storage{
			Place: c.place(), Brokers: cluster.seeds, Options: cluster.options, Topic: c.StateTopic, CreateTopic: c.CreateTopics, MakeSchema: c.makesSchema(log.Info),
		},
		Retention: relay.Retention{Outbox: c.Retention.Duration, Tables: file.retentions()}, Heartbeat: beats, SignalTable: c.SignalTable, Logger: log, Registerer: registry,
	})
	if err != nil {
		return nil, usageError{err}
	}
	if c.MetricsDebezium != "" {
		if err := registry.Register(relay.DebeziumMetrics(r, c.MetricsDebezium)); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	door := newEntrance(cluster, topics.Config{Brokers: cluster.seeds, KafkaOptions: cluster.options}, c.CreateTopics, log)
	return &oneRelay{command: c, cluster: cluster, relay: r, door: door, log: log}, nil
}

// takeOver is how the relay learns how far a connector has got; nil without
// --debezium-offsets.
func (c *relayRun) takeOver(cluster cluster, tables map[string]format.Format) (func(context.Context) (relay.Sent, error), error) {
	if c.DebeziumOffsets == "" {
		return nil, nil
	}
	if c.DebeziumTopics {
		return nil, usage("--debezium-offsets and --debezium-topics are two answers to one question: take the offsets where they can be read")
	}
	server := ""
	for _, f := range tables {
		router, ok := f.(eventrouter.Config)
		if !ok || router.ServerName == "" {
			continue
		}
		if server != "" && server != router.ServerName {
			return nil, usage("--debezium-offsets: the tables are of several connectors (server_name %s, %s), and a slot has one", server, router.ServerName)
		}
		server = router.ServerName
	}
	refuse := func(what, remedy string) error {
		return &relay.Refusal{What: "--debezium-offsets " + c.DebeziumOffsets + ": " + what, Remedy: remedy}
	}
	return func(ctx context.Context) (relay.Sent, error) {
		var offset debezium.Offset
		offsets, err := debezium.ReadOffsets(ctx, c.DebeziumOffsets, topics.Config{Brokers: cluster.seeds, KafkaOptions: cluster.options})
		if err == nil {
			offset, err = offsets.Of(server)
		}
		switch {
		case errors.Is(err, debezium.ErrOffsets):
			return relay.Sent{}, refuse(oneLine(err.Error()), "Name the connector's, or start without: the relay then begins where the slot is.")
		case err != nil:
			return relay.Sent{}, err
		case offset.Snapshot:
			return relay.Sent{}, refuse("connector "+offset.Connector+" is in the middle of its snapshot", "Let it finish: what it has not sent of it comes by no slot.")
		}
		return relay.Sent{Commit: offset.Commit, Row: offset.Row, XID: offset.XID}, nil
	}, nil
}

// errAway is a database that is away, for which the relay waits.
var errAway = errors.New("database is away")

// pipelineInstalled tells whether the topics of the order pipeline are needed.
// An outbox of its own has topics of its own.
func (c *relayRun) pipelineInstalled(ctx context.Context) (bool, error) {
	pool, err := c.pool(ctx, 1)
	if err != nil {
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code != "57P03" && pg.Code != "53300" {
			return false, err
		}
		if _, ok := errors.AsType[usageError](err); ok || ctx.Err() != nil {
			return false, err
		}
		return false, errors.Join(errAway, err)
	}
	defer pool.Close()
	found, err := installed(ctx, pool)
	return found.Pipeline, err
}
