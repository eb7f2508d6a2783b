package cli

import (
	"context"
	"errors"
	"sync"

	"github.com/gapless/gapless/ops/health"
	"github.com/gapless/gapless/relay"
)

type relayCommands struct {
	Run relayRun `cmd:"" default:"withargs" help:"Stream the outbox to Kafka."`
}

type relayRun struct {
	database
	kafka
	OpsListen   string `help:"Address of health and metrics." default:"127.0.0.1:9082"`
	Slot        string `help:"Replication slot." default:"gapless"`
	Publication string `help:"Publication." default:"gapless"`
}

func (c *relayRun) Run(ctx context.Context, e *env) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	seeds, err := c.seeds()
	if err != nil {
		return err
	}
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: seeds, Logger: e.log})
	if err != nil {
		return usageError{err}
	}
	registry := e.metrics()
	r, err := relay.New(relay.Config{
		DatabaseURL: url, Slot: c.Slot, Publication: c.Publication, Sink: sink, Logger: e.log, Registerer: registry,
	})
	if err != nil {
		return usageError{err}
	}
	ops, err := health.Listen(ctx, health.Config{
		Listen: c.OpsListen, Version: e.version, Gatherer: registry,
		Ready:  func() []health.Check { return relayChecks(r.Status()) },
		Status: func() any { return r.Status() },
	})
	if err != nil {
		return err
	}
	return together(ctx, r.Run, ops.Run)
}

func relayChecks(s relay.Status) []health.Check {
	detail := string(s.State)
	if s.Reason != "" {
		detail += ": " + s.Reason
	}
	return []health.Check{{Name: "relay", OK: s.Ready(), Detail: detail}}
}

// together runs the functions until the first returns or ctx ends, then ends
// the others, and returns the first error.
func together(ctx context.Context, runs ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(runs))
	for i, run := range runs {
		wg.Go(func() {
			defer cancel()
			errs[i] = run(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
