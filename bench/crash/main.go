package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type options struct {
	brokers []string
	seeds   int
	first   uint64
	kills   int
	orders  int
	rate    float64
	binary  string
	keep    string
}

func main() {
	var o options
	brokers := flag.String("brokers", os.Getenv("GAPLESS_TEST_BROKERS"), "bootstrap servers of a real Kafka; its topics outbox.event.* and dlq.* are deleted")
	flag.IntVar(&o.seeds, "seeds", 5, "runs, each with a seed of its own")
	flag.Uint64Var(&o.first, "seed", 1, "first seed")
	flag.IntVar(&o.kills, "kills", 40, "kills a run")
	flag.IntVar(&o.orders, "orders", 0, "orders a run; 0 means enough to last through the kills")
	flag.Float64Var(&o.rate, "rate", 15, "orders a second")
	flag.StringVar(&o.binary, "binary", "", "gapless built with -tags crashpoints; empty builds it")
	flag.StringVar(&o.keep, "logs", "", "directory for the processes' logs; empty keeps none")
	flag.Parse()
	o.brokers = strings.Split(*brokers, ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.brokers[0] == "" {
		return errors.New("-brokers is not set (nor GAPLESS_TEST_BROKERS)")
	}
	dir, err := os.MkdirTemp("", "gapless-crash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.keep == "" {
		o.keep = dir
	}
	if o.binary == "" {
		o.binary = filepath.Join(dir, "gapless")
		build := exec.CommandContext(ctx, "go", "build", "-tags", "crashpoints", "-o", o.binary, ".")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build gapless: %w", err)
		}
	}
	var total tally
	for i := range o.seeds {
		seed := o.first + uint64(i)
		start := time.Now()
		t, err := campaign(ctx, o, seed)
		total.add(t)
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		fmt.Printf("seed %d: %d kills (%d at named steps), %d orders, %d tries without an answer, verify holds, %s\n",
			seed, t.kills(), t.named(), t.Orders, t.Tries, time.Since(start).Round(time.Second))
	}
	out, err := json.MarshalIndent(total, "", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("%s\n%d kills over %d seeds, %d at named steps: every invariant holds\n", out, total.kills(), o.seeds, total.named())
	return nil
}

// tally counts what was done to the processes.
type tally struct {
	Random map[string]int `json:"killed_at_random"`
	Steps  map[string]int `json:"killed_at_step"`
	Orders int            `json:"orders"`
	Tries  int64          `json:"tries_without_answer"`
}

func (t *tally) add(u tally) {
	if t.Random == nil {
		t.Random, t.Steps = make(map[string]int), make(map[string]int)
	}
	for k, n := range u.Random {
		t.Random[k] += n
	}
	for k, n := range u.Steps {
		t.Steps[k] += n
	}
	t.Orders += u.Orders
	t.Tries += u.Tries
}

func (t *tally) named() (n int) {
	for _, k := range t.Steps {
		n += k
	}
	return n
}

func (t *tally) kills() int {
	n := t.named()
	for _, k := range t.Random {
		n += k
	}
	return n
}
