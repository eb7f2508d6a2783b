package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/ops/pipeline"
)

type consumeStatus struct {
	database
	kafka
	output
	Watch bool          `help:"Look again and again, until interrupted; rates are known from the second look on." short:"w"`
	All   bool          `help:"Print every partition, not only those in trouble and the furthest behind. JSON has all of them anyway."`
	Every time.Duration `help:"Time between two looks." default:"2s"`
	Names []string      `arg:"" optional:"" help:"Only these consumers."`
}

func (c *consumeStatus) Run(ctx context.Context, e *env) error {
	if c.Every < 100*time.Millisecond {
		return usage("--every must be at least 100ms")
	}
	config := inspect.ConsumeConfig{}
	for _, s := range pipeline.Subscriptions() {
		if len(c.Names) == 0 || slices.Contains(c.Names, s.Name) {
			config.Consumers = append(config.Consumers, inspect.Consumer{Name: s.Name, Topics: s.Topics, Generation: s.Generation})
		}
	}
	for _, name := range c.Names {
		if !slices.Contains(pipeline.Names(), name) {
			return usage("there is no consumer %q; choose from %s", name, strings.Join(pipeline.Names(), ", "))
		}
	}
	if _, err := c.cluster(); err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	cluster, err := c.reach(ctx)
	if err != nil {
		return err
	}
	config.Brokers, config.KafkaOptions = cluster.seeds, cluster.options
	if !c.Watch {
		list, err := inspect.Consume(ctx, pool, config)
		if err != nil {
			return err
		}
		return c.print(e, list)
	}
	return c.watch(ctx, e, pool, config)
}

func (c *consumeStatus) watch(ctx context.Context, e *env, pool *pgxpool.Pool, config inspect.ConsumeConfig) error {
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	var earlier []inspect.ConsumerStatus
	for {
		list, err := inspect.Consume(ctx, pool, config)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		inspect.Rates(earlier, list)
		earlier = list
		if err := c.print(e, list); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *consumeStatus) print(e *env, list []inspect.ConsumerStatus) error {
	switch {
	case c.Output == "json" && c.Watch:
		return c.line(e, list)
	case c.Output == "json":
		return c.write(e, list, func(*tabwriter.Writer) {})
	case c.Watch && isTerminal(e.stdout):
		fmt.Fprint(e.stdout, "\033[H\033[2J") // home, clear
	}
	return inspect.WriteConsumers(e.stdout, list, c.All)
}
