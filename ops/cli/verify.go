package cli

import (
	"context"
	"fmt"
	"strconv"
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
	config.Progress = c.progress(e)
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

// progress writes one line over and over on a terminal. Elsewhere only a wait that
// lasts is told of, once.
func (c *verifyCommand) progress(e *env) func(verify.Progress) {
	if isTerminal(e.stderr) {
		return func(p verify.Progress) {
			what := strconv.FormatInt(p.Done, 10)
			if p.Why != "" {
				what = fmt.Sprintf("(at most %s): %s", c.Wait, p.Why)
			}
			fmt.Fprintf(e.stderr, "\r\033[K%s %s", p.Step, what)
		}
	}
	var since time.Time
	isTold := false
	return func(p verify.Progress) {
		switch {
		case p.Why == "" || isTold:
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > time.Second:
			isTold = true
			fmt.Fprintf(e.stderr, "gapless verify: waits up to %s (--wait): %s\n", c.Wait, p.Why)
		}
	}
}

// orOff turns the zero of a flag, which means none, into the negative that
// means so in a Config.
func orOff(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
