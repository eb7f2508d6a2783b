package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/ops/compare"
)

type compareCommands struct {
	Topics compareTopics `cmd:"" help:"Two topics record by record, such as a shadow relay's and the one in service; exit 1 when they differ."`
}

type compareTopics struct {
	kafka
	output
	A             string   `arg:"" help:"A topic."`
	B             string   `arg:"" help:"The topic to set against it."`
	IDHeader      string   `name:"id-header" help:"Header that tells an event." default:"id"`
	IgnoreHeaders []string `name:"ignore-header" help:"Headers that may differ." placeholder:"NAME"`
	Partition     bool     `help:"The partition must be the same too."`
	Timestamp     bool     `help:"The timestamp must be the same too."`
}

func (c *compareTopics) Run(ctx context.Context, e *env) error {
	if c.A == c.B {
		return usage("name two topics")
	}
	cluster, err := c.reach(ctx)
	if err != nil {
		return err
	}
	config := compare.Config{
		Brokers: cluster.seeds, KafkaOptions: cluster.options, A: c.A, B: c.B,
		IDHeader: c.IDHeader, IgnoreHeaders: c.IgnoreHeaders, Partitions: c.Partition, Timestamps: c.Timestamp,
	}
	if isTerminal(e.stderr) {
		config.Progress = func(read, total int64) { fmt.Fprintf(e.stderr, "\r\033[Kread %d of %d", read, total) }
	}
	report, err := compare.Topics(ctx, config)
	if isTerminal(e.stderr) {
		fmt.Fprint(e.stderr, "\r\033[K")
	}
	if err != nil {
		return err
	}
	err = c.write(e, report, func(w *tabwriter.Writer) {
		row(w, "TOPIC", "RECORDS", "EVENTS", "REPEATS", "ONLY HERE", "TAIL", "WITHOUT ID")
		for _, s := range []compare.Side{report.A, report.B} {
			row(w, s.Topic, s.Records, s.Events, s.Repeats, s.Only, s.Tail, s.NoID)
		}
		fmt.Fprintf(w, "\n%s\n", report.Verdict())
		for _, x := range report.Examples {
			fmt.Fprintf(w, "  %s\n", terminal.Line(x))
		}
	})
	if err == nil && !report.Same() {
		return errBroken // the report has said it
	}
	return err
}
