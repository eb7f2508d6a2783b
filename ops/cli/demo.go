package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/gapless/gapless/ops/demo"
	"github.com/gapless/gapless/ops/pipeline"
)

type demoCommand struct {
	// Not the flags of the other commands: these are taken from the command line
	// alone.
	DatabaseURL string   `help:"A Postgres of your own, in which the demo makes schema, logins and orders; without it one is started. From the command line only." placeholder:"URL" local:""`
	Brokers     []string `help:"A Kafka of your own, host:port; without it the embedded broker. From the command line only." placeholder:"HOST:PORT" local:""`
	RegistryURL string   `help:"A schema registry of your own; without it the embedded one. From the command line only." placeholder:"URL" local:""`

	Orders    int      `help:"Place this many orders, a mix of every outcome."`
	Rate      float64  `help:"Orders per second; 0 means as fast as they go."`
	Exit      bool     `help:"End when every order has ended and the invariants were judged; exit 0 only if all held."`
	Without   []string `help:"Leave out: api, relay, or a consumer." placeholder:"NAME"`
	Data      string   `help:"Keep Postgres and broker in this directory." placeholder:"DIR" type:"path"`
	Listen    string   `help:"Address of the API." default:"127.0.0.1:8080"`
	OpsListen string   `help:"Address of health and metrics." default:"127.0.0.1:9080"`
}

func (c *demoCommand) Run(ctx context.Context, e *env) error {
	if c.Orders < 0 || c.Rate < 0 {
		return usage("--orders and --rate must not be negative")
	}
	for _, name := range c.Without {
		if known := append([]string{"api", "relay"}, pipeline.Names()...); !slices.Contains(known, name) {
			return usage("--without %q: choose from %s", name, strings.Join(known, ", "))
		}
	}
	if c.Exit && len(c.Without) > 0 {
		return usage("--exit waits until every order has ended, which never comes --without %s", strings.Join(c.Without, ","))
	}
	if err := loopbackOnly(c.Listen); err != nil {
		return err
	}
	report, err := demo.Run(ctx, demo.Config{
		Orders: c.Orders, Rate: c.Rate, Exit: c.Exit, Without: c.Without, DataDir: c.Data,
		DatabaseURL: c.DatabaseURL, Brokers: c.Brokers, RegistryURL: c.RegistryURL,
		Listen: c.Listen, OpsListen: c.OpsListen, Timeline: timeline,
		Out: e.stdout, Live: isTerminal(e.stdout), Version: e.version, Logger: e.quiet(),
	})
	if err != nil {
		return err
	}
	if c.Exit && !report.OK() {
		return errBroken
	}
	return nil
}
