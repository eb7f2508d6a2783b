package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/verify"
)

type verifyCommand struct {
	database
	kafka
	output
	Slot  string        `help:"Replication slot of the relay." default:"gapless"`
	Wait  time.Duration `help:"How long the relay may take to reach the moment of the check." default:"30s"`
	Young time.Duration `help:"How long ago a thing must have changed before a breach of money or stock counts." default:"10s"`
}

func (c *verifyCommand) Run(ctx context.Context, e *env) error {
	cluster, err := c.cluster()
	if err != nil {
		return err
	}
	pool, err := c.pool(ctx, 4)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := ping(ctx, cluster); err != nil {
		return err
	}
	config := verify.Config{Pool: pool, Brokers: cluster.seeds, KafkaOptions: cluster.options, Consumers: pipeline.Judged(), Slot: c.Slot, Wait: orOff(c.Wait), Young: orOff(c.Young)}
	if isTerminal(e.stderr) {
		config.Progress = func(p verify.Progress) { fmt.Fprintf(e.stderr, "\r\033[K%s %d", p.Step, p.Done) }
	}
	report, err := verify.Run(ctx, config)
	if isTerminal(e.stderr) {
		fmt.Fprint(e.stderr, "\r\033[K")
	}
	if err != nil {
		return err
	}
	if c.Output == "json" {
		err = c.write(e, report, func(*tabwriter.Writer) {})
	} else {
		err = report.WriteText(e.stdout)
	}
	if err == nil && !report.Holds() {
		return errBroken
	}
	return err
}

// orOff turns the zero of a flag, which means none, into the negative that
// means so in a Config.
func orOff(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
