package cli

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/notification"
	"github.com/gapless/gapless/internal/health"
	"github.com/gapless/gapless/ops/pipeline"
)

type consumeCommand struct {
	Run    consumeRun    `cmd:"" default:"withargs" help:"Run consumers; without names, all of them (the default)."`
	Status consumeStatus `cmd:"" help:"Each consumer's lag in messages and seconds, rate, time to drain, blocked keys."`
}

type consumeRun struct {
	database
	kafka
	encoding
	topicCreation
	OpsListen string   `help:"Address of health and metrics." default:"127.0.0.1:9083"`
	Pprof     bool     `help:"Serve Go profiles at /debug/pprof/ of --ops-listen." name:"pprof"`
	SMTP      string   `name:"smtp" help:"Mail server of notification, smtp://user:password@host:port (STARTTLS), smtps:// (TLS), or smtp+plain:// for a relay on this machine; without it mail stays in its table." placeholder:"URL"`
	MailFrom  string   `help:"Sender of mail." placeholder:"ADDRESS"`
	Instance  string   `help:"Name of this process among those that consume, kept across its restarts: one that was killed has its partitions back at once. Each running process needs its own." placeholder:"NAME"`
	Names     []string `arg:"" optional:"" help:"Consumers: saga, payment, inventory, fulfillment, notification, analytics, loyalty."`
}

func (c *consumeRun) Run(ctx context.Context, e *env) error {
	e.spareGC()
	for _, name := range c.Names {
		if !slices.Contains(pipeline.Names(), name) {
			return usage("there is no consumer %q; choose from %s", name, strings.Join(pipeline.Names(), ", "))
		}
	}
	cluster, err := c.cluster()
	if err != nil {
		return err
	}
	smtp, err := parseSMTP(c.SMTP)
	if err != nil {
		return err
	}
	// Two transactions a consumer, and as many again for what it prepares, sends
	// and looks after.
	pool, err := c.servicePool(ctx, 4*len(pipeline.Names()))
	if err != nil {
		return err
	}
	defer pool.Close()
	switch found, err := installed(ctx, pool); {
	case err != nil:
		return err
	case !found.Inbox:
		return errNoSchema
	case !found.MayConsume:
		return errRole("gapless_consumer")
	}
	codec, err := c.codec(ctx, pool)
	if err != nil {
		return err
	}
	gateway, err := c.servicePool(ctx, 4)
	if err != nil {
		return err
	}
	defer gateway.Close()
	registry := e.metrics()
	p, err := pipeline.New(pipeline.Config{
		Pool: pool, GatewayPool: gateway, Brokers: cluster.seeds, KafkaOptions: cluster.options, Encoder: codec, Consumers: c.Names, Instance: c.Instance, SMTP: smtp, MailFrom: c.MailFrom, Logger: e.log, Registerer: registry,
	})
	if err != nil {
		return err
	}
	door := newEntrance(cluster, consumerTopics(cluster, c.Names), c.CreateTopics, e.log)
	ops, err := health.Listen(ctx, health.Config{
		Listen: c.OpsListen, Component: "consume", Version: e.version, Gatherer: registry, Profile: c.Pprof,
		Ready: func(context.Context) []health.Check {
			if shut := door.check(); shut != nil {
				return shut
			}
			return consumerChecks(p)
		},
		Status: func() any { return p.Status() },
	})
	if err != nil {
		return listenError{err, "--ops-listen"}
	}
	return pipeline.Together(ctx, door.then(p.Run), ops.Run)
}

// parseSMTP reads the URL of a mail server; "" is none.
func parseSMTP(text string) (*notification.SMTP, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, usage("--smtp is not a URL") // the parser's error would print the password
	}
	s := &notification.SMTP{Addr: u.Host, Username: u.User.Username()}
	s.Password, _ = u.User.Password()
	port := "587"
	switch u.Scheme {
	case "smtp":
		s.Security = notification.StartTLS
	case "smtps":
		s.Security, port = notification.TLS, "465"
	case "smtp+plain":
		s.Security, port = notification.Plain, "25"
	default:
		return nil, usage("--smtp: scheme %q is none of smtp, smtps, smtp+plain", u.Scheme)
	}
	if u.Port() == "" {
		s.Addr = net.JoinHostPort(u.Hostname(), port)
	}
	return s, nil
}

// consumerChecks are ready while no partition waits for a dependency.
func consumerChecks(p *pipeline.Pipeline) []health.Check {
	var checks []health.Check
	for _, s := range p.Status() {
		check := health.Check{Name: s.Consumer, OK: true, Detail: fmt.Sprintf("%d partitions", len(s.Partitions))}
		for _, part := range s.Partitions {
			if part.State == consumers.StateHeld || part.State == consumers.StateDatabase {
				check.OK, check.Detail = false, fmt.Sprintf("%s/%d %s: %s", part.Topic, part.Partition, part.State, part.Error)
			}
		}
		checks = append(checks, check)
	}
	return checks
}
