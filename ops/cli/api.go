package cli

import (
	"context"
	"net"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/gapless/gapless/api"
)

type apiCommand struct {
	database
	encoding
	Listen        string `help:"Address of the API." default:"127.0.0.1:8080"`
	OpsListen     string `help:"Address of health and metrics." default:"127.0.0.1:9081"`
	Auth          string `help:"none (loopback addresses only) or keys." enum:",none,keys" default:""`
	MaxConcurrent int    `help:"Requests at once; beyond them 429." default:"512"`
}

func (c *apiCommand) Run(ctx context.Context, e *env) error {
	e.spareGC()
	if c.Auth == "" || c.Auth == api.AuthNone {
		if err := loopbackOnly(c.Listen); err != nil {
			return err
		}
	}
	pool, err := c.servicePool(ctx, max(16, 8*runtime.GOMAXPROCS(0)))
	if err != nil {
		return err
	}
	defer pool.Close()
	switch found, err := installed(ctx, pool); {
	case err != nil:
		return err
	case !found.Pipeline:
		return errNoSchema
	case !found.MayServe:
		return errRole("gapless_app")
	}
	codec, err := c.codec(ctx, pool)
	if err != nil {
		return err
	}
	server, err := api.New(api.Config{
		Pool: pool, Encoder: codec, Listen: c.Listen, OpsListen: c.OpsListen, Auth: c.Auth, MaxConcurrent: c.MaxConcurrent,
		Timeline: timeline(pool, nil), Version: e.version, Logger: e.log, Registerer: e.metrics(),
	})
	if err != nil {
		return usageError{err}
	}
	return server.Run(ctx)
}

// loopbackOnly refuses an address that others can reach without a key.
func loopbackOnly(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return usage("--listen %q: %w", listen, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return usage("--listen %s can be reached from other machines: use --auth keys (see 'gapless keys create')", listen)
}

// metrics is the registry of one process.
func (e *env) metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gapless_build_info", Help: "1, with the version as label.", ConstLabels: prometheus.Labels{"version": e.version},
	}, func() float64 { return 1 })
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
