package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/process"
	"github.com/gapless/gapless/ops/load"
)

// steps are the named crash points of each service.
var steps = map[string][]string{
	"api":     {},
	"relay":   {},
	"consume": {},
}

// campaign is one seed's run.
func campaign(ctx context.Context, o options, seed uint64) (tally, error) {
	t := tally{Random: make(map[string]int), Steps: make(map[string]int)}
	rng := rand.New(rand.NewPCG(seed, 0x6a09e667f3bcc908))

	if err := emptyBroker(ctx, o.brokers); err != nil {
		return t, err
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{Settings: map[string]string{"max_connections": "200"}})
	if err != nil {
		return t, err
	}
	defer func() {
		stop, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 20*time.Second, errors.New("Postgres did not stop"))
		defer cancel()
		if err := pg.Stop(stop); err != nil {
			fmt.Fprintln(os.Stderr, "crash: stop Postgres:", err)
		}
	}()
	env := append(os.Environ(),
		"GAPLESS_DATABASE_URL="+pg.SuperuserURL(), "GAPLESS_BROKERS="+strings.Join(o.brokers, ","), "GAPLESS_LOG_LEVEL=info")
	catalogue := filepath.Join(o.keep, "catalogue.csv")
	if err := os.WriteFile(catalogue, []byte("sku,name,price_minor,currency,stock\nA-1,Notebook,490,USD,1000000\nA-3,Lamp,8900,USD,1000000\nZ-0,Mug,1500,USD,0\n"), 0o600); err != nil {
		return t, err
	}
	for _, args := range [][]string{
		{"migrate", "up"},
		{"topics", "apply", "--partitions", "6"},
		{"catalog", "import", catalogue},
	} {
		if err := command(ctx, o.binary, env, args...); err != nil {
			return t, err
		}
	}

	services, base, err := start(ctx, o, env, seed)
	if err != nil {
		return t, err
	}
	defer func() {
		for _, s := range services {
			if s.proc != nil && s.proc.Running() {
				if err := s.kill(ctx); err != nil {
					fmt.Fprintln(os.Stderr, "crash:", err)
				}
			}
		}
	}()

	orders := o.orders
	if orders == 0 {
		orders = int(o.rate * float64(o.kills) * 1.5)
	}
	g, gctx := errgroup.WithContext(ctx)
	var report *load.Report
	g.Go(func() error {
		limit, cancel := context.WithTimeoutCause(gctx, 6*time.Minute, errors.New("the orders did not all come to an end within 6 minutes"))
		defer cancel()
		var err error
		report, err = load.Run(limit, load.Config{BaseURL: base, Orders: orders, Rate: o.rate, Wait: true, Concurrency: 16})
		if cause := context.Cause(limit); err != nil && cause != nil {
			err = fmt.Errorf("%w (placed %d, ends %v)", cause, report.Placed, report.Ends)
		}
		return err
	})
	g.Go(func() error { return killAll(gctx, o, rng, services, &t) })
	if err := g.Wait(); err != nil {
		return t, err
	}
	t.Orders, t.Tries = report.Placed, report.Tries
	if len(report.Failed) > 0 || len(report.Unexpected) > 0 {
		return t, fmt.Errorf("%d orders failed %v, %d ended otherwise than they must %v",
			len(report.Failed), first(report.Failed), len(report.Unexpected), first(report.Unexpected))
	}
	if err := command(ctx, o.binary, env, "verify"); err != nil {
		return t, err
	}
	var errs []error
	for _, s := range services {
		errs = append(errs, s.stop(ctx))
	}
	return t, errors.Join(errs...)
}

// start runs the three services and returns them with the API's address.
func start(ctx context.Context, o options, env []string, seed uint64) ([]*service, string, error) {
	ports := make([]int, 4)
	for i := range ports {
		port, err := process.FreePort(ctx)
		if err != nil {
			return nil, "", err
		}
		ports[i] = port
	}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	services := []*service{
		{name: "api", args: []string{"api", "--listen", addr(3), "--ops-listen", addr(0)}},
		{name: "relay", args: []string{"relay", "run", "--ops-listen", addr(1)}},
		{name: "consume", args: []string{"consume", "--ops-listen", addr(2)}},
	}
	for i, s := range services {
		s.path, s.env, s.steps = o.binary, env, steps[s.name]
		s.ready = "http://" + addr(i) + "/readyz"
		s.log = filepath.Join(o.keep, fmt.Sprintf("seed%d-%s.log", seed, s.name))
		if err := s.start(""); err != nil {
			return services, "", err
		}
	}
	for _, s := range services {
		if err := s.waitReady(ctx, 30*time.Second); err != nil {
			return services, "", err
		}
	}
	return services, "http://" + addr(3), nil
}

// killAll kills one service after another until o.kills are done. Every second
// kill, where the service has named steps, is a step: the service is restarted
// with a plan and has some seconds to come by.
func killAll(ctx context.Context, o options, rng *rand.Rand, services []*service, t *tally) error {
	for t.kills() < o.kills {
		s := services[rng.IntN(len(services))]
		if len(s.steps) > 0 && rng.IntN(2) == 0 {
			step := s.steps[rng.IntN(len(s.steps))]
			fired, err := killAtStep(ctx, s, fmt.Sprintf("%s:%d", step, 1+rng.IntN(20)), step)
			if err != nil {
				return err
			}
			if fired {
				t.Steps[step]++
				continue
			}
		}
		if err := pause(ctx, time.Duration(100+rng.IntN(900))*time.Millisecond); err != nil {
			return err
		}
		if err := s.kill(ctx); err != nil {
			return err
		}
		t.Random[s.name]++
		if err := s.start(""); err != nil {
			return err
		}
		if err := s.waitReady(ctx, 60*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// killAtStep restarts the service with a plan and reports whether the plan
// fired. The restart itself is a kill at random, and is not counted.
func killAtStep(ctx context.Context, s *service, plan, step string) (bool, error) {
	if err := s.kill(ctx); err != nil {
		return false, err
	}
	if err := s.start(plan); err != nil {
		return false, err
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(4 * time.Second):
		return false, nil // it lives on, disarmed only by the next restart
	case <-s.done():
	}
	at, err := s.diedAt()
	if err != nil {
		return false, err
	}
	if at != step {
		return false, fmt.Errorf("%s ended, but not at %s: %v; its log is %s", s.name, step, s.proc.Err(), s.log)
	}
	if err := s.out.Close(); err != nil {
		return false, err
	}
	if err := s.start(""); err != nil {
		return false, err
	}
	return true, s.waitReady(ctx, 60*time.Second)
}

// emptyBroker deletes what an earlier run left: verify must find each record's
// row.
func emptyBroker(ctx context.Context, brokers []string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	var old []string
	for name := range topics {
		if strings.HasPrefix(name, "outbox.event.") || strings.HasPrefix(name, "dlq.gapless.") {
			old = append(old, name)
		}
	}
	if len(old) > 0 {
		if _, err := adm.DeleteTopics(ctx, old...); err != nil {
			return fmt.Errorf("delete topics: %w", err)
		}
	}
	// Members that were killed hold their group until the session ends.
	deadline := time.Now().Add(90 * time.Second)
	for {
		groups, err := adm.ListGroups(ctx)
		if err != nil {
			return fmt.Errorf("list groups: %w", err)
		}
		var left []string
		for _, g := range groups.Groups() {
			if strings.HasPrefix(g, "gapless.") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return nil
		}
		responses, err := adm.DeleteGroups(ctx, left...)
		if err != nil {
			return fmt.Errorf("delete groups: %w", err)
		}
		if responses.Error() == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("delete groups: %w", responses.Error())
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

func command(ctx context.Context, binary string, env []string, args ...string) error {
	var out bytes.Buffer
	c := exec.CommandContext(ctx, binary, args...)
	c.Env, c.Stdout, c.Stderr = env, &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("gapless %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func first(list []string) []string { return list[:min(len(list), 5)] }
