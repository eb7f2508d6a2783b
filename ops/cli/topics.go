package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/topics"
)

type topicsCommands struct {
	Apply topicsApply `cmd:"" help:"Create what is missing; never shrinks, never moves keys unasked."`
}

type topicsApply struct {
	kafka
	output
	Partitions       int  `help:"Partitions of each topic of events." default:"32"`
	Replication      int  `help:"Replicas of new topics; 0 means the cluster's default."`
	MinInsync        int  `help:"min.insync.replicas; 0 means the cluster's default."`
	AllowRepartition bool `help:"Add partitions to topics that exist: keys move, and their order across the move is lost."`
	DryRun           bool `help:"Say what would be done, and do nothing."`
}

func (c *topicsApply) Run(ctx context.Context, e *env) error {
	if c.Partitions < 1 || c.Replication < 0 || c.MinInsync < 0 {
		return usage("--partitions must be at least 1, --replication and --min-insync not negative")
	}
	cluster, err := c.reach(ctx)
	if err != nil {
		return err
	}
	report, err := topics.Apply(ctx, topics.Config{
		Brokers: cluster.seeds, KafkaOptions: cluster.options, Consumers: pipeline.Subscriptions(), Partitions: c.Partitions, Replication: c.Replication,
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
