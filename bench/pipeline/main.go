package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/process"
	"github.com/gapless/gapless/ops/load"
)

type options struct {
	brokers    string
	registry   string
	rate       float64
	window     time.Duration
	warm       time.Duration
	partitions int
	socket     bool
	binary     string
	logs       string
	statements int
}

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", os.Getenv("GAPLESS_TEST_BROKERS"), "bootstrap servers of a real Kafka without outbox topics")
	flag.StringVar(&o.registry, "registry", os.Getenv("GAPLESS_TEST_REGISTRY_URL"), "schema registry: events are Protobuf; empty: JSON")
	flag.Float64Var(&o.rate, "rate", 500, "orders a second")
	flag.DurationVar(&o.window, "for", 2*time.Minute, "measured window")
	flag.DurationVar(&o.warm, "warm", 20*time.Second, "time before the window, at half the rate")
	flag.IntVar(&o.partitions, "partitions", 4, "partitions of each topic")
	flag.BoolVar(&o.socket, "socket", true, "services reach Postgres by its Unix-domain socket, not by TCP")
	flag.StringVar(&o.binary, "binary", "", "gapless; empty builds it")
	flag.StringVar(&o.logs, "logs", "", "directory for the processes' logs; empty keeps none")
	flag.IntVar(&o.statements, "statements", 0, "print that many of Postgres' dearest statements (needs pg_stat_statements)")
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
	o.logs = cmp.Or(o.logs, dir)
	if o.binary == "" {
		if o.binary, err = bed.Build(ctx, dir); err != nil {
			return err
		}
	}
	settings := map[string]string{
		"max_connections": "200", "shared_buffers": "2GB", "max_wal_size": "16GB", "checkpoint_timeout": "15min",
	}
	if o.statements > 0 {
		settings["shared_preload_libraries"] = "pg_stat_statements"
	}
	pg, err := pgserver.Start(ctx, pgserver.Config{Durable: true, Settings: settings})
	if err != nil {
		return err
	}
	defer func() {
		if err := pg.Stop(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "pipeline: stop Postgres:", err)
		}
	}()
	pool, err := pgxpool.New(ctx, pg.SuperuserURL())
	if err != nil {
		return err
	}
	defer pool.Close()
	s := &scene{options: o, pg: pg, pool: pool}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	defer s.stop()
	if err := s.start(ctx); err != nil {
		return err
	}
	return s.measure(ctx)
}

// scene is a pipeline that runs.
type scene struct {
	options
	pg       *pgserver.Server
	pool     *pgxpool.Pool // the superuser's
	base     string        // URL of the API
	services []service
}

type service struct {
	name string
	proc *process.Process
}

// logins of the services, each in one group role, as an installation has them.
var logins = map[string]string{
	"api": "IN ROLE gapless_app", "relay": "REPLICATION IN ROLE gapless_relay", "consume": "IN ROLE gapless_consumer",
}

const password = "for-one-run"

func (s *scene) prepare(ctx context.Context) error {
	env := s.env(s.pg.SuperuserURL())
	commands := [][]string{
		{"migrate", "up"},
		{"topics", "apply", "--partitions", strconv.Itoa(s.partitions)},
		{"catalog", "import", "ops/catalog/sample.csv"},
	}
	if s.registry != "" {
		commands = append(commands, []string{"schema", "register", "--registry-url", s.registry})
	}
	for _, args := range commands {
		if err := bed.Command(ctx, env, s.binary, args...); err != nil {
			return err
		}
	}
	for name, role := range logins {
		if _, err := s.pool.Exec(ctx, "CREATE ROLE "+name+" LOGIN PASSWORD '"+password+"' "+role); err != nil {
			return fmt.Errorf("create login %s: %w", name, err)
		}
	}
	if s.statements > 0 {
		if _, err := s.pool.Exec(ctx, "CREATE EXTENSION pg_stat_statements"); err != nil {
			return fmt.Errorf("create extension: %w", err)
		}
	}
	return nil
}

func (s *scene) env(url string) []string {
	env := append(os.Environ(), "GAPLESS_DATABASE_URL="+url, "GAPLESS_BROKERS="+s.brokers, "GAPLESS_LOG_LEVEL=warn")
	if s.registry != "" {
		env = append(env, "GAPLESS_ENCODING=protobuf")
	}
	return env
}

// start runs api, relay and consumers, each a process of its own.
func (s *scene) start(ctx context.Context) error {
	var addrs []string
	for range 4 {
		port, err := process.FreePort(ctx)
		if err != nil {
			return err
		}
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
	}
	s.base = "http://" + addrs[3]
	for i, args := range [][]string{
		{"api", "--listen", addrs[3], "--ops-listen", addrs[0]},
		{"relay", "run", "--ops-listen", addrs[1]},
		{"consume", "--ops-listen", addrs[2]},
	} {
		log, err := os.Create(filepath.Join(s.logs, args[0]+".log"))
		if err != nil {
			return err
		}
		p, err := process.Start(process.Command{
			Path: s.binary, Args: args, Env: s.env(s.url(args[0])), Output: log,
		})
		if err != nil {
			return fmt.Errorf("start %s: %w", args[0], err)
		}
		s.services = append(s.services, service{args[0], p})
		if err := bed.WaitReady(ctx, "http://"+addrs[i]+"/readyz", p); err != nil {
			text, readErr := os.ReadFile(log.Name())
			return fmt.Errorf("%s: %w\n%s", args[0], errors.Join(err, readErr), text)
		}
	}
	return nil
}

func (s *scene) url(login string) string {
	if s.socket {
		return s.pg.UserSocketURL(login, password, "postgres")
	}
	return s.pg.UserURL(login, password, "postgres")
}

func (s *scene) stop() {
	for _, c := range s.services {
		_ = c.proc.Signal(syscall.SIGTERM) // it may have ended by itself; Done tells
	}
	for _, c := range s.services {
		<-c.proc.Done()
	}
}

// cpu is what each process has used so far, this one as "load".
func (s *scene) cpu() map[string]time.Duration {
	times := bed.ServerCPU()
	for _, c := range s.services {
		times[c.name] = bed.CPU(c.proc.Pid())
	}
	times["load"] = bed.CPU(os.Getpid())
	return times
}

// every is the time between two looks: the count reads all orders.
const every = 5 * time.Second

// sample is the state at one moment.
type sample struct {
	at     time.Duration
	placed int
	ended  int
	cpu    map[string]time.Duration
}

func (s *scene) measure(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	total := s.window
	// Only kinds that end by themselves: a person who decides would be measured
	// too.
	mix := slices.DeleteFunc(load.Mix(), func(kind load.Scenario) bool { return kind.Then != "" })
	place := func(rate float64, d time.Duration) (*load.Report, error) {
		return load.Run(ctx, load.Config{BaseURL: s.base, Orders: int(rate * d.Seconds()), Rate: rate, Concurrency: 64, Mix: mix})
	}
	// At half the rate, while the broker's code is compiled and statements are planned.
	if _, err := place(s.rate/2, s.warm); err != nil {
		return err
	}
	// As autovacuum does in the first minute: until then the plans are those of
	// empty tables.
	if _, err := s.pool.Exec(ctx, "ANALYZE"); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	done := make(chan error, 1)
	var report *load.Report
	go func() {
		var err error
		report, err = place(s.rate, total)
		done <- err
	}()
	start := time.Now()
	var samples []sample
	tick := time.NewTicker(every)
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
			now := sample{at: time.Since(start)}
			err := s.pool.QueryRow(ctx, "select count(*), count(*) filter (where status in ('confirmed', 'cancelled')) from checkout.orders").Scan(&now.placed, &now.ended)
			if err != nil {
				return fmt.Errorf("count orders: %w", err)
			}
			if len(samples) == 0 || now.at+every > total {
				now.cpu = s.cpu()
			}
			samples = append(samples, now)
			fmt.Printf("%6.1f s  placed %7d  ended %7d  backlog %6d\n", now.at.Seconds(), now.placed, now.ended, now.placed-now.ended)
		}
	}
	if done != nil {
		if err := <-done; err != nil {
			return err
		}
	}
	return s.summary(ctx, samples, report)
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

func (s *scene) summary(ctx context.Context, samples []sample, report *load.Report) error {
	i := slices.IndexFunc(samples, func(one sample) bool { return one.cpu != nil })
	if i < 0 || i == len(samples)-1 {
		return errors.New("the window is too short to judge")
	}
	a, b := samples[i], samples[len(samples)-1]
	if b.cpu == nil {
		return errors.New("the last sample came too late: the machine is overloaded")
	}
	secs := (b.at - a.at).Seconds()
	r := result{
		Rate: s.rate, Placed: float64(b.placed-a.placed) / secs, Ended: float64(b.ended-a.ended) / secs, Seconds: secs,
		BacklogStart: a.placed - a.ended, BacklogEnd: b.placed - b.ended,
		PostP50: load.Quantile(report.Post, 0.5).String(), PostP99: load.Quantile(report.Post, 0.99).String(),
		CPUPerOrderMS: make(map[string]float64),
	}
	for _, one := range samples[i:] {
		r.BacklogMax = max(r.BacklogMax, one.placed-one.ended)
	}
	for name, cpu := range b.cpu {
		r.CPUPerOrderMS[name] = (cpu - a.cpu[name]).Seconds() * 1000 / float64(max(1, b.ended-a.ended))
	}
	err := s.pool.QueryRow(ctx, `
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
	return s.dearest(ctx)
}

// dearest prints the statements that took Postgres longest.
func (s *scene) dearest(ctx context.Context) error {
	if s.statements <= 0 {
		return nil
	}
	rows, err := s.pool.Query(ctx, `
		select r.rolname, q.calls, q.total_exec_time, q.rows, q.wal_bytes::bigint, left(regexp_replace(regexp_replace(q.query, '--[^\n]*', '', 'g'), '\s+', ' ', 'g'), 110)
		from pg_stat_statements q join pg_roles r on r.oid = q.userid order by q.total_exec_time desc limit $1`, s.statements)
	if err != nil {
		return fmt.Errorf("read statements: %w", err)
	}
	var (
		role, text          string
		calls, count, bytes int64
		took                float64
	)
	_, err = pgx.ForEachRow(rows, []any{&role, &calls, &took, &count, &bytes, &text}, func() error {
		fmt.Printf("%-10s %8d calls %9.0f ms %6.3f ms each %6.1f rows each %8.0f B WAL each  %s\n",
			role, calls, took, took/float64(calls), float64(count)/float64(calls), float64(bytes)/float64(calls), text)
		return nil
	})
	return err
}
