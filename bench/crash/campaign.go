package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/process"
	"github.com/gapless/gapless/ops/load"
	"github.com/gapless/gapless/ops/verify"
)

// drainTime bounds how long the last orders take to end once the killing is
// over. A command that was lost would be sent again after a minute.
const drainTime = 2 * time.Minute

// run of one seed.
type run struct {
	options
	seed   uint64
	env    []string
	db     *pgxpool.Pool
	broker *broker
	tally  tally
	start  time.Time
}

// phase notes when it was reached.
func (r *run) phase(name string) {
	r.tally.phases = append(r.tally.phases, fmt.Sprintf("%s at %s", name, time.Since(r.start).Round(time.Second)))
}

// campaign does one seed's run.
func campaign(ctx context.Context, o options, seed uint64) (_ *tally, err error) {
	r := &run{options: o, seed: seed, start: time.Now()}
	if r.broker, err = openBroker(o.brokers); err != nil {
		return &r.tally, err
	}
	defer r.broker.close()
	if err := r.broker.empty(ctx); err != nil {
		return &r.tally, err
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{Settings: map[string]string{"max_connections": "200"}})
	if err != nil {
		return &r.tally, err
	}
	defer func() {
		stop, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 20*time.Second, errors.New("stop Postgres: timeout"))
		defer cancel()
		err = errors.Join(err, pg.Stop(stop))
	}()
	r.env = append(os.Environ(),
		"GAPLESS_DATABASE_URL="+pg.SuperuserURL(), "GAPLESS_BROKERS="+strings.Join(o.brokers, ","), "GAPLESS_LOG_LEVEL=info")
	if r.db, err = pgxpool.New(ctx, pg.SuperuserURL()); err != nil {
		return &r.tally, err
	}
	defer r.db.Close()
	if err := r.install(ctx); err != nil {
		return &r.tally, err
	}
	mail, err := openMailbox(ctx)
	if err != nil {
		return &r.tally, err
	}
	services, base, err := r.services(ctx, mail.url())
	defer func() {
		for _, s := range services {
			if s.Running() {
				_, e := s.Kill()
				err = errors.Join(err, e)
			}
		}
		err = errors.Join(err, mail.close())
	}()
	if err != nil {
		return &r.tally, err
	}
	r.phase("ready")
	if err := r.torment(ctx, services, base); err != nil {
		return &r.tally, err
	}
	r.phase("ended")
	if err := r.judge(ctx); err != nil {
		return &r.tally, err
	}
	r.phase("judged")
	var errs []error
	for _, s := range services {
		errs = append(errs, s.Stop())
	}
	return &r.tally, errors.Join(errs...)
}

func (r *run) install(ctx context.Context) error {
	catalogue := filepath.Join(r.logs, "catalogue.csv")
	err := os.WriteFile(catalogue, []byte("sku,name,price_minor,currency,stock\nA-1,Notebook,490,USD,1000000\nA-3,Lamp,8900,USD,1000000\nZ-0,Mug,1500,USD,0\n"), 0o600)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"migrate", "up"},
		{"topics", "apply", "--partitions", "6"},
		{"catalog", "import", catalogue},
	} {
		if _, err := r.command(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// service of the three.
type service struct {
	bed.Service
	nameless []string // args of a process that is not known from its lives before
}

// services starts the three and returns them with the API's address.
func (r *run) services(ctx context.Context, mail string) ([]*service, string, error) {
	var addr [4]string
	for i := range addr {
		port, err := process.FreePort(ctx)
		if err != nil {
			return nil, "", err
		}
		addr[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	services := []*service{
		newService("api", "api", "--listen", addr[3], "--ops-listen", addr[0]),
		newService("relay", "relay", "run", "--ops-listen", addr[1]),
		newService("consume", "consume", "--ops-listen", addr[2], "--smtp", mail),
	}
	for i, s := range services {
		s.nameless = s.Args
		if s.Name == "consume" {
			s.Args = append(s.Args[:len(s.Args):len(s.Args)], "--instance", instance)
		}
		s.Path, s.Env = r.binary, r.env
		s.Ops = "http://" + addr[i]
		s.Log = filepath.Join(r.logs, fmt.Sprintf("seed%d-%s.Log", r.seed, s.Name))
		if err := s.Start(""); err != nil {
			return services, "", err
		}
	}
	for _, s := range services {
		if err := r.up(ctx, s); err != nil {
			return services, "", err
		}
	}
	return services, "http://" + addr[3], nil
}

// up waits until a life that is not armed has begun.
func (r *run) up(ctx context.Context, s *service) error {
	alive, err := s.WaitReady(ctx, 30*time.Second)
	if err == nil && !alive {
		_, err = s.Died()
		err = errors.Join(fmt.Errorf("%s died before it was ready; its log is %s", s.Name, s.Log), err)
	}
	return err
}

func newService(name string, args ...string) *service {
	return &service{Service: bed.Service{Name: name, Args: args}, nameless: args}
}

// torment places orders while it kills, and then waits for their ends.
func (r *run) torment(ctx context.Context, services []*service, base string) error {
	killed := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(killed)
		killers, ctx := errgroup.WithContext(ctx)
		defer func() { r.phase("killed") }()
		for i, s := range services {
			k := &killer{run: r, service: s, kills: r.share(i)}
			k.rng = rand.New(rand.NewPCG(r.seed, uint64(i)))
			k.deck = deck{steps: steps[s.Name], rng: k.rng}
			killers.Go(func() error { return k.killAll(ctx) })
		}
		return killers.Wait()
	})
	g.Go(func() error {
		limited, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			select {
			case <-limited.Done():
				return
			case <-killed:
			}
			select {
			case <-limited.Done():
			case <-time.After(drainTime):
				cancel(fmt.Errorf("the orders did not all come to an end within %s of the last kill", drainTime))
			}
		}()
		report, err := load.Run(limited, load.Config{BaseURL: base, Orders: 100_000, Rate: r.rate, Stop: killed, Wait: true, Concurrency: 16})
		if err != nil {
			if cause := context.Cause(limited); cause != nil {
				err = cause
			}
			return fmt.Errorf("%w (placed %d, ends %v)", err, report.Placed, report.Ends)
		}
		r.tally.Orders, r.tally.Tries = report.Placed, report.Tries
		if len(report.Failed) > 0 || len(report.Unexpected) > 0 {
			return fmt.Errorf("%d orders failed %v, %d ended otherwise than they must %v",
				len(report.Failed), first(report.Failed), len(report.Unexpected), first(report.Unexpected))
		}
		return nil
	})
	return g.Wait()
}

// share is how many of the kills are the i-th service's: consumers and relay
// have the more to lose.
func (r *run) share(i int) int {
	api := r.kills / 5
	relay := (r.kills - api) / 2
	return [...]int{api, relay, r.kills - api - relay}[i]
}

// judge looks at what is left, once the consumers have read everything.
func (r *run) judge(ctx context.Context) error {
	if err := r.broker.drained(ctx, drainTime); err != nil {
		return err
	}
	var orders int
	if err := r.db.QueryRow(ctx, "SELECT count(*) FROM checkout.orders").Scan(&orders); err != nil {
		return fmt.Errorf("count orders: %w", err)
	}
	if orders != r.tally.Orders {
		return fmt.Errorf("%d orders are stored of %d that were placed", orders, r.tally.Orders)
	}
	deadline := time.Now().Add(drainTime)
	for {
		// Nothing moves any more, so nothing that is broken is too young to say so.
		out, err := r.command(ctx, "verify", "--young", "0s", "--output", "json")
		if err != nil {
			return err
		}
		var report verify.Report
		if err := json.Unmarshal(out, &report); err != nil {
			return fmt.Errorf("read the report of verify: %w", err)
		}
		if err := whole(&report); err == nil {
			r.tally.Rows, r.tally.Repeats = report.Cut.Rows, report.Cut.Repeats
			return nil
		} else if time.Now().After(deadline) {
			return fmt.Errorf("%w\n%s", err, out)
		}
		// The last order has ended before its last event is everywhere.
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// whole tells whether everything there is was judged.
func whole(report *verify.Report) error {
	if len(report.Incomplete) > 0 {
		return fmt.Errorf("verify could not judge everything: %s", strings.Join(report.Incomplete, "; "))
	}
	for i := range report.Invariants {
		v := &report.Invariants[i]
		if v.Judged == 0 || v.TooYoung > 0 || v.Expired > 0 {
			return fmt.Errorf("verify judged %d of invariant %d %s, found %d too young and %d expired", v.Judged, v.Number, v.Name, v.TooYoung, v.Expired)
		}
	}
	return nil
}

// command runs gapless to its end and returns what it wrote to standard output.
func (r *run) command(ctx context.Context, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, r.binary, args...)
	c.Env, c.Stdout, c.Stderr = r.env, &stdout, &stderr
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("gapless %s: %w\n%s%s", strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func first(list []string) []string { return list[:min(len(list), 5)] }
