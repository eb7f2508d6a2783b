// Package pipeline puts the order pipeline's consumers together: which there
// are, what each reads, and what runs beside it. consume, demo and verify all
// take them from here, so they agree.
//
// It has no behaviour of its own: promises are in the packages that it names.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/analytics"
	"github.com/gapless/gapless/consumers/fulfillment"
	"github.com/gapless/gapless/consumers/inventory"
	"github.com/gapless/gapless/consumers/loyalty"
	"github.com/gapless/gapless/consumers/notification"
	"github.com/gapless/gapless/consumers/payment"
	"github.com/gapless/gapless/consumers/saga"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/ops/verify"
	"github.com/gapless/gapless/outbox"
)

// Names returns the consumers in the order in which an order meets them.
func Names() []string {
	return []string{saga.Name, payment.Name, inventory.Name, fulfillment.Name, notification.Name, analytics.Name, loyalty.Name}
}

// Config of a Pipeline.
type Config struct {
	// Pool is the services' database, with the rights of gapless_consumer.
	Pool *pgxpool.Pool
	// GatewayPool is where the sandbox gateway keeps its own ledger; nil means a
	// pool of its own to the same database.
	GatewayPool *pgxpool.Pool
	// Brokers of Kafka.
	Brokers []string
	// KafkaOptions go to every client, for TLS and SASL.
	KafkaOptions []kgo.Opt
	// Encoder of events; nil means JSON.
	Encoder outbox.Encoder
	// Consumers to run; empty means all of [Names].
	Consumers []string
	// Instance is the process's name in the groups, see [consumers.Config].
	Instance string
	// SMTP of notification; nil sends nothing. MailFrom is the sender; empty means
	// notification's default.
	SMTP     *notification.SMTP
	MailFrom string
	// SagaTimeout before a command without a reply is sent again; 0 means the
	// saga's default.
	SagaTimeout time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Pipeline runs consumers and what belongs to them: the saga's timer, the mail
// sender.
type Pipeline struct {
	runner *consumers.Runner
	beside []func(context.Context) error
	close  func()
}

// New builds the consumers. It does no I/O. The caller closes the pools that it
// gave, after Run.
func New(c Config) (*Pipeline, error) {
	names := c.Consumers
	if len(names) == 0 {
		names = Names()
	}
	p := &Pipeline{close: func() {}}
	if c.GatewayPool == nil && slices.Contains(names, payment.Name) {
		config := c.Pool.Config()
		config.MaxConns = 4
		pool, err := pgxpool.NewWithConfig(context.Background(), config)
		if err != nil {
			return nil, fmt.Errorf("open gateway pool: %w", err)
		}
		c.GatewayPool, p.close = pool, pool.Close
	}
	var list []consumers.Consumer
	for _, name := range names {
		consumer, beside, err := c.consumer(name)
		if err != nil {
			return nil, err
		}
		list = append(list, consumer)
		if beside != nil {
			p.beside = append(p.beside, beside)
		}
	}
	runner, err := consumers.New(consumers.Config{
		Pool: c.Pool, Brokers: c.Brokers, KafkaOptions: c.KafkaOptions, Consumers: list, Instance: c.Instance, Encoder: c.Encoder, Logger: c.Logger, Registerer: c.Registerer,
	})
	if err != nil {
		return nil, err
	}
	p.runner = runner
	return p, nil
}

func (c Config) consumer(name string) (_ consumers.Consumer, beside func(context.Context) error, err error) {
	switch name {
	case saga.Name:
		s := saga.New(saga.Config{Pool: c.Pool, Encoder: c.Encoder, Timeout: c.SagaTimeout, Logger: c.Logger, Registerer: c.Registerer})
		return s.Consumer(), s.Run, nil
	case payment.Name:
		return payment.New(payment.Config{DB: c.Pool, Gateway: payment.NewSandbox(c.GatewayPool)}), nil, nil
	case inventory.Name:
		return inventory.New(inventory.Config{}), nil, nil
	case fulfillment.Name:
		return fulfillment.New(fulfillment.Config{}), nil, nil
	case notification.Name:
		n := notification.New(notification.Config{Pool: c.Pool, SMTP: c.SMTP, From: c.MailFrom, Logger: c.Logger, Registerer: c.Registerer})
		return n.Consumer(), n.Run, nil
	case analytics.Name:
		return analytics.New(analytics.Config{}), nil, nil
	case loyalty.Name:
		return loyalty.New(loyalty.Config{}), nil, nil
	}
	return consumers.Consumer{}, nil, fmt.Errorf("there is no consumer %q; choose from %s", name, strings.Join(Names(), ", "))
}

// Run runs the pipeline until ctx ends or a part of it fails, and returns when
// every part has ended.
func (p *Pipeline) Run(ctx context.Context) error {
	defer p.close()
	return Together(ctx, append(slices.Clone(p.beside), p.runner.Run)...)
}

// Together runs the functions until the first returns or ctx ends, then ends
// the others, waits for them, and returns their errors joined.
func Together(ctx context.Context, runs ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(runs))
	var wg sync.WaitGroup
	for i, run := range runs {
		wg.Go(func() {
			defer cancel()
			errs[i] = run(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Status of each consumer in this process.
func (p *Pipeline) Status() []consumers.Status { return p.runner.Status() }

// Subscriptions tells which consumer reads which topics, for the topics of their
// dead letters.
func Subscriptions() []topics.Consumer {
	judged := Judged()
	list := make([]topics.Consumer, len(judged))
	for i, c := range judged {
		list[i] = topics.Consumer{Name: c.Name, Topics: c.Topics}
	}
	return list
}

// Judged is what verify has to know of the consumers.
func Judged() []verify.Consumer {
	list := []consumers.Consumer{
		saga.New(saga.Config{}).Consumer(),
		// It cannot be built without a gateway, and its topic is all that counts here.
		{Name: payment.Name, Topics: []string{contracts.Topic(contracts.PaymentCommand)}},
		inventory.New(inventory.Config{}),
		fulfillment.New(fulfillment.Config{}),
		notification.New(notification.Config{}).Consumer(),
		analytics.New(analytics.Config{}),
		loyalty.New(loyalty.Config{}),
	}
	judged := make([]verify.Consumer, len(list))
	for i, c := range list {
		judged[i] = verify.Consumer{Name: c.Name, Topics: c.Topics}
	}
	return judged
}
