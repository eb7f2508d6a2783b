package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/gapless/gapless/bench/internal/bed"
)

type options struct {
	brokers []string
	seeds   int
	first   uint64
	kills   int
	rate    float64
	binary  string
	logs    string
}

func main() {
	var o options
	brokers := flag.String("brokers", os.Getenv("GAPLESS_TEST_BROKERS"), "bootstrap servers of a real Kafka; its topics outbox.event.* and dlq.gapless.* are deleted")
	flag.IntVar(&o.seeds, "seeds", 5, "runs, each with a seed of its own")
	flag.Uint64Var(&o.first, "seed", 1, "first seed")
	flag.IntVar(&o.kills, "kills", 40, "kills a run")
	flag.Float64Var(&o.rate, "rate", 15, "orders a second")
	flag.StringVar(&o.binary, "binary", "", "gapless built with -tags crashpoints; empty builds it")
	flag.StringVar(&o.logs, "logs", "", "directory for the processes' logs; empty keeps them only when a run fails")
	flag.Parse()
	o.brokers = strings.Split(*brokers, ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := crash(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func crash(ctx context.Context, o options) (err error) {
	if o.brokers[0] == "" {
		return errors.New("-brokers is not set (nor GAPLESS_TEST_BROKERS)")
	}
	if o.seeds < 1 || o.kills < 5 {
		return errors.New("-seeds must be at least 1, -kills at least 5")
	}
	if o.logs == "" {
		if o.logs, err = os.MkdirTemp("", "gapless-crash-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(o.logs)
			}
		}()
	}
	if o.binary == "" {
		dir, err := os.MkdirTemp("", "gapless-crash-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if o.binary, err = bed.Build(ctx, dir, "-tags", "crashpoints"); err != nil {
			return err
		}
	}
	var total tally
	for i := range o.seeds {
		seed := o.first + uint64(i)
		t, err := campaign(ctx, o, seed)
		total.add(t)
		if err != nil {
			total.write(os.Stdout)
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		fmt.Printf("seed %d: %d kills (%d at named steps), %d orders, verify holds (%s)\n",
			seed, t.kills(), t.named(), t.Orders, strings.Join(t.phases, ", "))
	}
	total.write(os.Stdout)
	if never := total.never(); len(never) > 0 {
		return fmt.Errorf("steps that never fired in %d kills: %s", total.kills(), strings.Join(never, ", "))
	}
	fmt.Printf("%d kills over %d seeds, %d at named steps: every invariant holds\n", total.kills(), o.seeds, total.named())
	return nil
}
