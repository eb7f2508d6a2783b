package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/wire"
)

const (
	relayLogin    = "relay_login"
	relayPassword = "first-password"

	// walSenderTimeout is short, or a stopped relay would keep the slot for a minute.
	walSenderTimeout = 4 * time.Second
)

// world are the servers of all runs.
type world struct {
	options
	pg     *pgserver.Server
	db     *pgxpool.Pool // past the proxy
	toPG   *wire.Proxy
	broker *broker // the common one
}

// broker is a Kafka, or what stands for one.
type broker struct {
	kafka  *kafkaserver.Kafka // nil for kfake
	fake   *kfake.Cluster     // nil for a real one
	admin  *kadm.Client       // past the proxies
	direct []string
	seeds  []string // what relays are told

	toKafka *wire.Proxy // nil for kfake
	toSASL  *wire.Proxy // the common one has it: clients show a password there
	toTLS   *wire.Proxy // and this: clients speak TLS with the proxy
	papers  *papers     // of toTLS

	stop func(context.Context) error
}

func openWorld(ctx context.Context, o options) (w *world, err error) {
	w = &world{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close(ctx))
		}
	}()
	fmt.Println("starting Postgres and Kafka")
	w.pg, err = pgserver.Start(ctx, pgserver.Config{Settings: map[string]string{
		"max_connections": "100", "wal_sender_timeout": walSenderTimeout.String(),
		// What a commit was answered for must outlast kill -9.
		"synchronous_commit": "on",
		// A server that ends by a killed backend comes back by itself, as in service.
		"restart_after_crash": "on",
	}})
	if err != nil {
		return w, err
	}
	if w.db, err = pgxpool.New(ctx, w.pg.SuperuserURL()); err != nil {
		return w, err
	}
	if w.toPG, err = wire.Listen(ctx, wire.Config{Target: fmt.Sprintf("127.0.0.1:%d", w.pg.Port())}); err != nil {
		return w, err
	}
	env := append(os.Environ(), "GAPLESS_DATABASE_URL="+w.pg.SuperuserURL())
	if err := bed.Command(ctx, env, o.binary, "migrate", "up", "--component", "outbox"); err != nil {
		return w, err
	}
	for _, statement := range []string{
		"CREATE ROLE " + relayLogin + " LOGIN REPLICATION PASSWORD '" + relayPassword + "' IN ROLE gapless_relay",
		"CREATE SCHEMA faults",
		"CREATE TABLE faults.aggregate (key text PRIMARY KEY, version bigint NOT NULL)",
	} {
		if _, err := w.db.Exec(ctx, statement); err != nil {
			return w, fmt.Errorf("prepare database: %w", err)
		}
	}
	w.broker, err = commonBroker(ctx)
	return w, err
}

func (w *world) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), time.Minute, errors.New("stop servers: timeout"))
	defer cancel()
	var errs []error
	if w.broker != nil {
		errs = append(errs, w.broker.close(ctx))
	}
	if w.toPG != nil {
		errs = append(errs, w.toPG.Close())
	}
	if w.db != nil {
		w.db.Close()
	}
	if w.pg != nil {
		errs = append(errs, w.pg.Stop(ctx))
	}
	return errors.Join(errs...)
}

// relayURL is the database as a relay reaches it.
func (w *world) relayURL(password string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(relayLogin, password), Host: w.toPG.Addr(), Path: "/postgres", RawQuery: "sslmode=disable",
	}
	return u.String()
}

// startBroker starts a Kafka behind a proxy; further proxies stand before the
// listeners of their names.
func startBroker(ctx context.Context, cfg kafkaserver.KafkaConfig, more map[string]*wire.Proxy) (b *broker, err error) {
	b = &broker{}
	b.stop = func(ctx context.Context) error {
		var errs []error
		if b.kafka != nil {
			errs = append(errs, b.kafka.Stop(ctx))
		}
		for _, p := range more {
			errs = append(errs, p.Close())
		}
		return errors.Join(append(errs, b.toKafka.Close())...)
	}
	if b.toKafka, err = wire.Listen(ctx, wire.Config{Kafka: true}); err != nil {
		return nil, err
	}
	cfg.Listeners = append(cfg.Listeners, kafkaserver.Listener{Name: "RELAY", Advertised: b.toKafka.Addr()})
	if b.kafka, err = kafkaserver.StartKafka(ctx, cfg); err != nil {
		return nil, errors.Join(err, b.stop(ctx))
	}
	b.toKafka.SetTarget(b.kafka.Listener("RELAY"))
	for name, p := range more {
		p.SetTarget(b.kafka.Listener(name))
	}
	b.direct, b.seeds = b.kafka.Brokers(), []string{b.toKafka.Addr()}
	return b, b.open()
}

func commonBroker(ctx context.Context) (*broker, error) {
	toSASL, err := wire.Listen(ctx, wire.Config{Kafka: true})
	if err != nil {
		return nil, err
	}
	papers, err := newPapers()
	if err != nil {
		return nil, errors.Join(err, toSASL.Close())
	}
	toTLS, err := wire.Listen(ctx, wire.Config{Kafka: true, TLS: papers.server()})
	if err != nil {
		return nil, errors.Join(err, toSASL.Close())
	}
	b, err := startBroker(ctx, kafkaserver.KafkaConfig{
		Listeners: []kafkaserver.Listener{
			{Name: "SASL", Protocol: "SASL_PLAINTEXT", Advertised: toSASL.Addr(), Settings: map[string]string{
				"scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
			}},
			{Name: "TLS", Advertised: toTLS.Addr()},
		},
		Properties: map[string]string{"sasl.enabled.mechanisms": "SCRAM-SHA-512"},
	}, map[string]*wire.Proxy{"SASL": toSASL, "TLS": toTLS})
	if err != nil {
		return nil, err
	}
	b.toSASL, b.toTLS, b.papers = toSASL, toTLS, papers
	return b, nil
}

// open makes the administrator's client.
func (b *broker) open() error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.direct...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	b.admin = kadm.NewClient(client)
	return nil
}

func (b *broker) close(ctx context.Context) error {
	if b.admin != nil {
		b.admin.Close()
	}
	return b.stop(ctx)
}

// heal ends every fault of a proxy.
func (b *broker) heal() error {
	var errs []error
	for _, p := range []*wire.Proxy{b.toKafka, b.toSASL, b.toTLS} {
		if p != nil {
			errs = append(errs, p.Heal())
		}
	}
	return errors.Join(errs...)
}

// topic makes one whose records have the time at which they were appended.
func (b *broker) topic(ctx context.Context, name string) error {
	appended, largest := "LogAppendTime", "2097152" // the latter as 'topics apply' has it
	made, err := b.admin.CreateTopics(ctx, partitions, 1, map[string]*string{"message.timestamp.type": &appended, "max.message.bytes": &largest}, name)
	if err := errors.Join(err, made.Error()); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

const partitions = 3
