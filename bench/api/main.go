package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgserver"
)

// serveVariable makes this program the API of the measurement.
const serveVariable = "GAPLESS_BENCH_SERVE"

// profileVariable names a file for the API's CPU profile.
const profileVariable = "GAPLESS_BENCH_PROFILE"

var started = time.Now().UnixNano()

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := measure
	if os.Getenv(serveVariable) != "" {
		run = serve
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // the deferred stop only ends a signal handler
	}
}

func serve(ctx context.Context) error {
	if name := os.Getenv(profileVariable); name != "" {
		file, err := os.Create(name)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	server, err := api.New(api.Config{
		DatabaseURL: os.Getenv(serveVariable), Listen: "127.0.0.1:0", DrainDelay: -1,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	go func() {
		<-server.Started()
		fmt.Println(server.URL())
	}()
	return server.Run(ctx)
}

func measure(ctx context.Context) (err error) {
	rounds := flag.Int("rounds", 5, "rounds; medians are printed")
	seconds := flag.Int("seconds", 5, "length of one measurement")
	clients := flag.Int("clients", 16, "connections of each contender")
	profile := flag.String("profile", "", "file for the CPU profile of the API")
	flag.Parse()
	d := time.Duration(*seconds) * time.Second

	dir, err := os.MkdirTemp("", "gapless-bench-api-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	pg, err := pgserver.Start(ctx, pgserver.Config{Durable: true, Settings: map[string]string{"max_wal_size": "4GB"}})
	if err != nil {
		return err
	}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, pg.Stop(stopCtx))
	}()
	login, err := prepare(ctx, pg)
	if err != nil {
		return err
	}
	address, stopAPI, err := startAPI(ctx, login, *profile)
	if err != nil {
		return err
	}
	defer stopAPI()
	bench, err := newPgbench(dir, login)
	if err != nil {
		return err
	}

	fmt.Printf("%d cores, %s, Postgres %d durable, %d clients, %d rounds of %s\n", runtime.NumCPU(), runtime.Version(), pg.Major(), *clients, *rounds, d)
	if _, err := full(ctx, address, *clients, time.Second); err != nil { // statements prepared, prices remembered
		return err
	}
	var rest, plain, piped []float64
	for i := range *rounds {
		a, err := full(ctx, address, *clients, d)
		if err != nil {
			return err
		}
		b, err := bench.run(ctx, *clients, d, false)
		if err != nil {
			return err
		}
		c, err := bench.run(ctx, *clients, d, true)
		if err != nil {
			return err
		}
		rest, plain, piped = append(rest, a), append(plain, b), append(piped, c)
		fmt.Printf("round %d: api %.0f/s, pgbench %.0f/s, pgbench pipelined %.0f/s\n", i+1, a, b, c)
	}
	ours, theirs, theirsPiped := bed.Median(rest), bed.Median(plain), bed.Median(piped)
	fmt.Printf("POST /v1/orders  %.0f/s\npgbench          %.0f/s   ratio %.2f\npgbench, piped   %.0f/s   ratio %.2f\n",
		ours, theirs, ours/theirs, theirsPiped, ours/theirsPiped)

	var p50, p99 []float64
	for range *rounds {
		latencies, err := paced(ctx, address, 4**clients, ours/2, d)
		if err != nil {
			return err
		}
		p50 = append(p50, ms(latencies[len(latencies)/2]))
		p99 = append(p99, ms(latencies[len(latencies)*99/100]))
	}
	fmt.Printf("at %.0f/s         p50 %.1f ms, p99 %.1f ms\n", ours/2, bed.Median(p50), bed.Median(p99))
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// prepare makes a migrated database with a catalogue and returns the URL of a
// login with the rights of an application.
func prepare(ctx context.Context, pg *pgserver.Server) (string, error) {
	admin := pg.SuperuserURL()
	if _, err := goose.Up(ctx, goose.Config{DatabaseURL: admin, NoSlot: true}); err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `
		insert into checkout.products (sku, name, price_minor, currency) values ('A-1', 'Lamp', 1250, 'USD');
		create role bench login password 'bench' in role gapless_app`)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(admin)
	if err != nil {
		return "", err
	}
	u.User = url.UserPassword("bench", "bench")
	return u.String(), nil
}

// startAPI runs this program again, as the API.
func startAPI(ctx context.Context, databaseURL, profile string) (address string, stop func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), serveVariable+"="+databaseURL, profileVariable+"="+profile)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	var line string
	if _, err := fmt.Fscanln(out, &line); err != nil {
		stop()
		return "", nil, fmt.Errorf("start api: %w", err)
	}
	return strings.TrimPrefix(line, "http://"), stop, nil
}
