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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/process"
	"github.com/gapless/gapless/ops/load"
)

type options struct {
	brokers    string
	rate       float64
	window     time.Duration
	warm       time.Duration
	partitions int
	binary     string
	logs       string
}

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", os.Getenv("GAPLESS_TEST_BROKERS"), "bootstrap servers of a real Kafka without outbox topics")
	flag.Float64Var(&o.rate, "rate", 500, "orders a second")
	flag.DurationVar(&o.window, "for", 2*time.Minute, "measured window")
	flag.DurationVar(&o.warm, "warm", 10*time.Second, "time before the window")
	flag.IntVar(&o.partitions, "partitions", 4, "partitions of each topic")
	flag.StringVar(&o.binary, "binary", "", "gapless; empty builds it")
	flag.StringVar(&o.logs, "logs", "", "directory for the processes' logs; empty keeps none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "pipeline:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.brokers == "" {
		return errors.New("-brokers is not set (nor GAPLESS_TEST_BROKERS)")
	}
	dir, err := os.MkdirTemp("", "gapless-pipeline-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.logs == "" {
		o.logs = dir
	}
	if o.binary == "" {
		o.binary = filepath.Join(dir, "gapless")
		if err := command(ctx, os.Environ(), "go", "build", "-o", o.binary, "."); err != nil {
			return err
		}
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{Durable: true, Settings: map[string]string{
		"max_connections": "200", "shared_buffers": "512MB", "max_wal_size": "4GB", "wal_compression": "on",
	}})
	if err != nil {
		return err
	}
	defer func() {
		if err := pg.Stop(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "pipeline: stop Postgres:", err)
		}
	}()
	env := append(os.Environ(), "GAPLESS_DATABASE_URL="+pg.SuperuserURL(), "GAPLESS_BROKERS="+o.brokers, "GAPLESS_LOG_LEVEL=warn")
	for _, args := range [][]string{
		{"migrate", "up"},
		{"topics", "apply", "--partitions", strconv.Itoa(o.partitions)},
		{"catalog", "import", "ops/catalog/sample.csv"},
	} {
		if err := command(ctx, env, o.binary, args...); err != nil {
			return err
		}
	}
	base, children, err := services(ctx, o, env)
	defer func() {
		for _, c := range children {
			_ = c.proc.Signal(syscall.SIGTERM) // it may have ended by itself; Done tells
		}
		for _, c := range children {
			<-c.proc.Done()
		}
	}()
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, pg.SuperuserURL())
	if err != nil {
		return err
	}
	defer pool.Close()
	return measure(ctx, o, pool, base, children)
}

type child struct {
	name string
	proc *process.Process
}

// services starts api, relay and consumers, each a process of its own.
func services(ctx context.Context, o options, env []string) (string, []child, error) {
	var addrs []string
	for range 4 {
		port, err := process.FreePort(ctx)
		if err != nil {
			return "", nil, err
		}
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
	}
	var children []child
	for i, args := range [][]string{
		{"api", "--listen", addrs[3], "--ops-listen", addrs[0]},
		{"relay", "run", "--ops-listen", addrs[1]},
		{"consume", "--ops-listen", addrs[2]},
	} {
		log, err := os.Create(filepath.Join(o.logs, args[0]+".log"))
		if err != nil {
			return "", children, err
		}
		p, err := process.Start(process.Command{Path: o.binary, Args: args, Env: env, Output: log})
		if err != nil {
			return "", children, fmt.Errorf("start %s: %w", args[0], err)
		}
		children = append(children, child{args[0], p})
		if err := waitReady(ctx, "http://"+addrs[i]+"/readyz", p); err != nil {
			text, readErr := os.ReadFile(log.Name())
			return "", children, fmt.Errorf("%s: %w\n%s", args[0], errors.Join(err, readErr), text)
		}
	}
	return "http://" + addrs[3], children, nil
}

// sample is the state at one moment.
type sample struct {
	at     time.Duration
	placed int
	ended  int
	cpu    map[string]time.Duration
}

func measure(ctx context.Context, o options, pool *pgxpool.Pool, base string, children []child) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	total := o.warm + o.window
	// Only kinds that end by themselves: a person who decides would be measured
	// too.
	mix := slices.DeleteFunc(load.Mix(), func(s load.Scenario) bool { return s.Then != "" })
	done := make(chan error, 1)
	var report *load.Report
	go func() {
		var err error
		report, err = load.Run(ctx, load.Config{
			BaseURL: base, Orders: int(o.rate * total.Seconds()), Rate: o.rate, Concurrency: 64, Mix: mix,
		})
		done <- err
	}()
	start := time.Now()
	var samples []sample
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for time.Since(start) < total {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-done:
			if err != nil {
				return err
			}
			done = nil
		case <-tick.C:
			s := sample{at: time.Since(start), cpu: make(map[string]time.Duration)}
			err := pool.QueryRow(ctx, "select count(*), count(*) filter (where status in ('confirmed', 'cancelled')) from checkout.orders").Scan(&s.placed, &s.ended)
			if err != nil {
				return fmt.Errorf("count orders: %w", err)
			}
			for _, c := range children {
				s.cpu[c.name] = cpuTime(c.proc.Pid())
			}
			samples = append(samples, s)
			fmt.Printf("%6.1f s  placed %7d  ended %7d  backlog %6d\n", s.at.Seconds(), s.placed, s.ended, s.placed-s.ended)
		}
	}
	if done != nil {
		if err := <-done; err != nil {
			return err
		}
	}
	return summary(ctx, o, pool, samples, report)
}

// result is what is kept.
type result struct {
	Rate          float64            `json:"offered_orders_per_s"`
	Placed        float64            `json:"placed_orders_per_s"`
	Ended         float64            `json:"ended_orders_per_s"`
	Seconds       float64            `json:"window_s"`
	BacklogStart  int                `json:"backlog_at_start"`
	BacklogEnd    int                `json:"backlog_at_end"`
	BacklogMax    int                `json:"backlog_max"`
	PostP50       string             `json:"post_p50"`
	PostP99       string             `json:"post_p99"`
	EndP50        float64            `json:"placed_to_ended_p50_s"`
	EndP99        float64            `json:"placed_to_ended_p99_s"`
	CPUPerOrderMS map[string]float64 `json:"cpu_ms_per_order"`
}

func summary(ctx context.Context, o options, pool *pgxpool.Pool, samples []sample, report *load.Report) error {
	i := slices.IndexFunc(samples, func(s sample) bool { return s.at >= o.warm })
	if i < 0 || i == len(samples)-1 {
		return errors.New("the window is too short to judge")
	}
	a, b := samples[i], samples[len(samples)-1]
	secs := (b.at - a.at).Seconds()
	r := result{
		Rate: o.rate, Placed: float64(b.placed-a.placed) / secs, Ended: float64(b.ended-a.ended) / secs, Seconds: secs,
		BacklogStart: a.placed - a.ended, BacklogEnd: b.placed - b.ended,
		PostP50: load.Quantile(report.Post, 0.5).String(), PostP99: load.Quantile(report.Post, 0.99).String(),
		CPUPerOrderMS: make(map[string]float64),
	}
	for _, s := range samples[i:] {
		r.BacklogMax = max(r.BacklogMax, s.placed-s.ended)
	}
	for name, cpu := range b.cpu {
		r.CPUPerOrderMS[name] = (cpu - a.cpu[name]).Seconds() * 1000 / float64(b.ended-a.ended)
	}
	err := pool.QueryRow(ctx, `
		select percentile_cont(0.5) within group (order by d), percentile_cont(0.99) within group (order by d)
		from (select extract(epoch from updated_at - created_at)::float8 as d from checkout.orders where status in ('confirmed', 'cancelled')) as t`).
		Scan(&r.EndP50, &r.EndP99)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read times: %w", err)
	}
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	return nil
}

func command(ctx context.Context, env []string, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = env
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return nil
}
