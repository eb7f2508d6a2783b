package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/health"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/topics"
)

// topicCreation is the flag of the services that read or write topics.
type topicCreation struct {
	CreateTopics bool `help:"Create missing topics, with the defaults of 'topics apply'. Without it a missing one is an error."`
}

// entrance is what a service passes before it starts: a broker that answers,
// and the topics. A broker that is away is waited for, loudly and not ready: it
// comes back by itself, and so must the service. A missing topic does not, nor does a
// broker that this client does not trust or that does not take its password.
type entrance struct {
	cluster cluster
	topics  topics.Config // without Topics none are looked for
	create  bool
	log     *slog.Logger
	shut    atomic.Pointer[string] // why; nil once it is passed
}

func newEntrance(to cluster, c topics.Config, create bool, log *slog.Logger) *entrance {
	e := &entrance{cluster: to, topics: c, create: create, log: log}
	e.close("looking for Kafka")
	return e
}

func (e *entrance) close(why string) { e.shut.Store(&why) }

// check is the readiness of a service that is still outside; nil once it is in.
func (e *entrance) check() []health.Check {
	if why := e.shut.Load(); why != nil {
		return []health.Check{{Name: "kafka", Detail: *why}}
	}
	return nil
}

// then returns a function that passes the entrance and runs run.
func (e *entrance) then(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := e.pass(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		return run(ctx) // which returns at once when told to stop meanwhile
	}
}

func (e *entrance) pass(ctx context.Context) error {
	const first, longest = 500 * time.Millisecond, 5 * time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		err := e.try(ctx)
		if err == nil {
			e.shut.Store(nil)
			return nil
		}
		away, ok := errors.AsType[*brokerError](err)
		if !ok || away.stays || ctx.Err() != nil {
			return err
		}
		e.close(oneLine(err.Error()) + ": " + away.remedy)
		e.log.ErrorContext(ctx, "kafka is away, waiting for it", "error", oneLine(err.Error()), "remedy", away.remedy, "again_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (e *entrance) try(ctx context.Context) error {
	if err := ping(ctx, e.cluster); err != nil {
		return err
	}
	if len(e.topics.Topics) == 0 {
		return nil
	}
	if !e.create {
		return topics.Require(ctx, e.topics)
	}
	made, err := topics.Create(ctx, e.topics)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	if len(made) > 0 {
		e.log.InfoContext(ctx, "topics created", "topics", strings.Join(made, ","))
	}
	return nil
}

// relayTopics are all that the pipeline writes to.
func relayTopics(c cluster) topics.Config {
	return topics.Config{Brokers: c.seeds, KafkaOptions: c.options, Topics: contracts.Topics(), Consumers: pipeline.Subscriptions()}
}

// consumerTopics are those that the named consumers read, and their dead
// letters'.
func consumerTopics(from cluster, names []string) topics.Config {
	c := topics.Config{Brokers: from.seeds, KafkaOptions: from.options}
	for _, s := range pipeline.Subscriptions() {
		if len(names) == 0 || slices.Contains(names, s.Name) {
			c.Consumers = append(c.Consumers, s)
			c.Topics = append(c.Topics, s.Topics...)
		}
	}
	return c
}
