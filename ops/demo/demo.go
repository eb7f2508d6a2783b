package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/health"
	"github.com/gapless/gapless/ops/catalog"
	"github.com/gapless/gapless/ops/load"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/schema"
	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/ops/verify"
	"github.com/gapless/gapless/relay"
)

// Config of a demo. The zero value runs until ctx ends, on embedded servers.
type Config struct {
	// Orders to place; 0 places none.
	Orders int
	// Rate is orders per second; 0 means as fast as they go.
	Rate float64
	// Exit ends the demo once the orders have ended and were judged.
	Exit bool
	// Without leaves out services: api, relay, or a consumer by name.
	Without []string
	// DataDir keeps Postgres and broker; empty means temporary.
	DataDir string
	// DatabaseURL, Brokers and RegistryURL name servers to use instead of
	// embedded ones. The database's login must be able to create schemas and
	// roles.
	DatabaseURL string
	Brokers     []string
	RegistryURL string
	// Listen is the API's address, 127.0.0.1:8080 by default; OpsListen that of
	// health and metrics, 127.0.0.1:9080 by default.
	Listen, OpsListen string

	// Out is told what is going on, for a person. Live says that it is a
	// terminal, so that a progress line may be written over.
	Out  io.Writer
	Live bool
	// Timeline of an order, as api.Config has it; it is given the pool that it
	// reads from. nil means none.
	Timeline func(pool *pgxpool.Pool, brokers []string) func(context.Context, uuid.UUID) (json.RawMessage, error)

	Version string
	Logger  *slog.Logger
}

// Report of a demo with Orders.
type Report struct {
	Load   *load.Report   `json:"load"`
	Verify *verify.Report `json:"verify,omitempty"`
}

// OK tells whether every order ended as it must and every invariant was judged
// and holds.
func (r *Report) OK() bool {
	return r.Load != nil && r.Load.OK() &&
		(r.Verify == nil || !r.Verify.Broken() && settled(r.Verify))
}

func (c Config) withDefaults() (Config, error) {
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:8080")
	c.OpsListen = cmp.Or(c.OpsListen, "127.0.0.1:9080")
	if c.Out == nil {
		c.Out = io.Discard
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	known := append([]string{"api", "relay"}, pipeline.Names()...)
	for _, name := range c.Without {
		if !slices.Contains(known, name) {
			return c, fmt.Errorf("without %q: choose from %s", name, strings.Join(known, ", "))
		}
	}
	if c.Exit && c.Orders == 0 {
		c.Orders = 200
	}
	if c.Exit && len(c.Without) > 0 {
		return c, errors.New("exit waits until every order has ended, which never comes without one of the services")
	}
	return c, nil
}

// Run runs the demo. The report is nil without Orders. An error means that the
// demo could not be run; what it found is in the report.
func Run(ctx context.Context, c Config) (_ *Report, err error) {
	c, err = c.withDefaults()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	p, err := bind(ctx, c)
	if err != nil {
		return nil, err
	}
	defer p.close()
	s, err := startServers(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop(ctx)) }()
	st, err := prepare(ctx, c, s, p)
	if err != nil {
		return nil, err
	}
	defer st.close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	services, err := st.services(ctx)
	if err != nil {
		return nil, err
	}
	errs := make(chan error, len(services))
	var wg sync.WaitGroup
	for _, run := range services {
		wg.Go(func() { errs <- run(ctx) })
	}
	defer func() {
		cancel()
		wg.Wait()
		close(errs)
		for e := range errs {
			err = errors.Join(err, e)
		}
	}()
	fmt.Fprintf(c.Out, "up in %s\n\n%s\n", time.Since(start).Round(10*time.Millisecond), st.addresses())

	var report *Report
	if c.Orders > 0 {
		if report, err = st.placeOrders(ctx, errs); err != nil {
			return nil, err
		}
		if c.Exit {
			return report, nil
		}
	}
	fmt.Fprintln(c.Out, "press Ctrl-C to end")
	select {
	case <-ctx.Done():
		return report, nil
	case err := <-errs:
		return report, err
	}
}

// ports are bound before anything is started: that another program listens there is
// the commonest mistake.
type ports struct {
	apiListener, opsListener net.Listener // no API without one
}

func bind(ctx context.Context, c Config) (p ports, err error) {
	var listen net.ListenConfig
	if p.opsListener, err = listen.Listen(ctx, "tcp", c.OpsListen); err != nil {
		return p, fmt.Errorf("listen for operators on %s: %w", c.OpsListen, err)
	}
	if slices.Contains(c.Without, "api") {
		return p, nil
	}
	if p.apiListener, err = listen.Listen(ctx, "tcp", c.Listen); err != nil {
		p.close()
		return p, fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	return p, nil
}

// close is for what no service has closed.
func (p ports) close() {
	for _, l := range []net.Listener{p.apiListener, p.opsListener} {
		if l != nil {
			l.Close()
		}
	}
}

// stage is everything that the services need.
type stage struct {
	Config
	*servers
	ports
	logins logins
	admin  *pgxpool.Pool
	pools  []*pgxpool.Pool
	apiURL string
}

// prepare makes schema, logins, topics, contracts and catalogue.
func prepare(ctx context.Context, c Config, s *servers, p ports) (_ *stage, err error) {
	st := &stage{Config: c, servers: s, ports: p, apiURL: "http://" + c.Listen}
	if p.apiListener != nil {
		st.apiURL = "http://" + p.apiListener.Addr().String()
	}
	st.OpsListen = p.opsListener.Addr().String()
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	if _, err := goose.Up(ctx, goose.Config{DatabaseURL: s.databaseURL, Logger: c.Logger}); err != nil {
		return st, err
	}
	if st.admin, err = st.pool(ctx, s.databaseURL); err != nil {
		return st, err
	}
	if st.logins, err = createLogins(ctx, st.admin, s.databaseURL); err != nil {
		return st, err
	}
	if _, err := topics.Apply(ctx, topics.Config{Brokers: s.brokers, Partitions: 4, Consumers: pipeline.Subscriptions()}); err != nil {
		return st, err
	}
	if err := s.startRegistry(ctx, st.admin); err != nil {
		return st, err
	}
	if _, err := schema.Register(ctx, schema.Config{RegistryURL: s.registryURL, DB: st.admin, Logger: c.Logger}); err != nil {
		return st, err
	}
	products, err := catalog.Sample()
	if err != nil {
		return st, err
	}
	if _, err := catalog.Import(ctx, st.admin, products, false); err != nil {
		return st, err
	}
	return st, nil
}

func (st *stage) pool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	st.pools = append(st.pools, pool)
	return pool, nil
}

func (st *stage) close() {
	for _, p := range st.pools {
		p.Close()
	}
}

// services builds what runs, each on the login of its own role.
func (st *stage) services(ctx context.Context) ([]func(context.Context) error, error) {
	registry := prometheus.NewRegistry()
	app, err := st.pool(ctx, st.logins.app)
	if err != nil {
		return nil, err
	}
	codec, err := contracts.Load(ctx, app)
	if err != nil {
		return nil, err
	}
	var runs []func(context.Context) error
	with := func(name string) bool { return !slices.Contains(st.Without, name) }
	var checks []func() []health.Check
	if with("api") {
		config := api.Config{Pool: app, Encoder: codec, Listen: st.Listen, Listener: st.apiListener, Auth: api.AuthNone, Version: st.Version, Logger: st.Logger, Registerer: registry, DrainDelay: -1}
		if st.Timeline != nil {
			config.Timeline = st.Timeline(app, st.brokers)
		}
		server, err := api.New(config)
		if err != nil {
			return nil, err
		}
		runs = append(runs, server.Run)
	}
	if with("relay") {
		sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: st.brokers, Logger: st.Logger})
		if err != nil {
			return nil, err
		}
		r, err := relay.New(relay.Config{DatabaseURL: st.logins.relay, Sink: sink, Logger: st.Logger, Registerer: registry})
		if err != nil {
			return nil, err
		}
		runs = append(runs, r.Run)
		checks = append(checks, func() []health.Check {
			s := r.Status()
			return []health.Check{{Name: "relay", OK: s.Ready(), Detail: string(s.State)}}
		})
	}
	names := slices.DeleteFunc(pipeline.Names(), func(n string) bool { return !with(n) })
	if len(names) > 0 {
		pool, err := st.pool(ctx, st.logins.consumer)
		if err != nil {
			return nil, err
		}
		p, err := pipeline.New(pipeline.Config{Pool: pool, Brokers: st.brokers, Encoder: codec, Consumers: names, Logger: st.Logger, Registerer: registry})
		if err != nil {
			return nil, err
		}
		runs = append(runs, p.Run)
	}
	ops, err := health.Listen(ctx, health.Config{
		Listener: st.opsListener, Component: "demo", Version: st.Version, Gatherer: registry,
		Ready: func(context.Context) (all []health.Check) {
			for _, check := range checks {
				all = append(all, check()...)
			}
			return all
		},
	})
	if err != nil {
		return nil, err
	}
	return append(runs, ops.Run), nil
}

func (st *stage) addresses() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  api       %s/v1/orders   (contract: /openapi.yaml)\n", st.apiURL)
	fmt.Fprintf(&b, "  health    http://%s/readyz   metrics: /metrics\n", st.OpsListen)
	fmt.Fprintf(&b, "  postgres  psql '%s'\n", st.logins.readonly)
	fmt.Fprintf(&b, "  kafka     %s\n", strings.Join(st.brokers, ","))
	fmt.Fprintf(&b, "  registry  %s\n", st.registryURL)
	return b.String()
}
