package cli

import (
	"context"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/relay/format"
)

type topicsCommands struct {
	Apply topicsApply `cmd:"" help:"Create what is missing; never shrinks, never moves keys unasked."`
}

type topicsApply struct {
	kafka
	output
	Topic            []string `help:"A topic of your own, besides the pipeline's; may be given several times." placeholder:"NAME"`
	Aggregate        []string `help:"The topic of an aggregate type of your own, outbox.event.TYPE; may be given several times." placeholder:"TYPE"`
	NoPipeline       bool     `help:"Leave the order pipeline's topics alone: only --topic and --aggregate."`
	Partitions       int      `help:"Partitions of each topic of events." default:"32"`
	Replication      int      `help:"Replicas of new topics; 0 means the cluster's default."`
	MinInsync        int      `help:"min.insync.replicas; 0 means the cluster's default."`
	AllowRepartition bool     `help:"Add partitions to topics that exist: keys move, and their order across the move is lost."`
	DryRun           bool     `help:"Say what would be done, and do nothing."`
}

func (c *topicsApply) Run(ctx context.Context, e *env) error {
	if c.Partitions < 1 || c.Replication < 0 || c.MinInsync < 0 {
		return usage("--partitions must be at least 1, --replication and --min-insync not negative")
	}
	names, consumers, err := c.names()
	if err != nil {
		return err
	}
	cluster, err := c.reach(ctx)
	if err != nil {
		return err
	}
	report, err := topics.Apply(ctx, topics.Config{
		Brokers: cluster.seeds, KafkaOptions: cluster.options, Topics: names, Consumers: consumers, Partitions: c.Partitions, Replication: c.Replication,
		MinInsync: c.MinInsync, AllowRepartition: c.AllowRepartition, DryRun: c.DryRun,
	})
	if err != nil {
		return err
	}
	created, added, changed := "created", "partitions added", "changed"
	if c.DryRun {
		created, added, changed = "would be created", "partitions would be added", "would be changed"
	}
	return c.write(e, report, func(w *tabwriter.Writer) {
		for _, name := range report.Created {
			fmt.Fprintf(w, "%s\t%s\n", name, created)
		}
		for _, d := range report.Repartitioned {
			fmt.Fprintf(w, "%s\t%s\t%s\n", d.Topic, added, d)
		}
		for _, d := range report.Changed {
			fmt.Fprintf(w, "%s\t%s\t%s\n", d.Topic, changed, d)
		}
		for _, d := range report.Differences {
			fmt.Fprintf(w, "%s\tleft as it is\t%s\n", d.Topic, d)
		}
		fmt.Fprintf(w, "%d topics, %d %s\n", report.Topics, len(report.Created), created)
	})
}

// names are the topics to make, and the consumers whose dead letters need theirs.
func (c *topicsApply) names() ([]string, []topics.Consumer, error) {
	own := slices.Clone(c.Topic)
	for _, kind := range c.Aggregate {
		own = append(own, contracts.Topic(kind))
	}
	for _, name := range own {
		if err := format.CheckTopic(name); err != nil {
			return nil, nil, usage("--topic or --aggregate: %q: %w", name, err)
		}
	}
	switch {
	case !c.NoPipeline:
		return append(contracts.Topics(), own...), pipeline.Subscriptions(), nil
	case len(own) == 0:
		return nil, nil, usage("--no-pipeline leaves nothing to make: name topics with --topic or --aggregate")
	}
	return own, nil, nil
}
