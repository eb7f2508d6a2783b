package cli

import (
	"context"
	"text/tabwriter"

	"github.com/gapless/gapless/ops/schema"
)

type schemaCommands struct {
	Check    schemaCheck    `cmd:"" help:"Compare the contracts with a registry or a directory; exit 1 names each break."`
	Register schemaRegister `cmd:"" help:"Register the contracts and store their ids in Postgres."`
	Diff     schemaDiff     `cmd:"" help:"Show every difference."`
}

// contracts are the flags of all three.
type contractFlags struct {
	registry
	output
	Compatibility string `help:"backward: new readers read old events. full: old readers read new events, too." enum:"backward,full" default:"backward"`
}

func (c contractFlags) config(e *env, against string) (schema.Config, error) {
	config := schema.Config{RegistryURL: c.RegistryURL, Compatibility: schema.Compatibility(c.Compatibility), Logger: e.log}
	if against != "" {
		config.RegistryURL = ""
		if isURL(against) {
			config.RegistryURL = against
		} else {
			config.Dir = against
		}
	}
	if err := c.secure(&config); err != nil {
		return config, err
	}
	if config.RegistryURL == "" && config.Dir == "" {
		return config, usage("--registry-url is not set (nor GAPLESS_REGISTRY_URL or SCHEMA_REGISTRY_URL), nor --against")
	}
	return config, nil
}

func (c contractFlags) tell(e *env, report schema.Report) error {
	if c.Output == "json" {
		return c.write(e, report, func(*tabwriter.Writer) {})
	}
	return report.WriteText(e.stdout)
}

type schemaCheck struct {
	contractFlags
	Against string `help:"Registry or directory to compare with; default is the registry." placeholder:"URL|DIR"`
}

func (c *schemaCheck) Run(ctx context.Context, e *env) error {
	config, err := c.config(e, c.Against)
	if err != nil {
		return err
	}
	report, err := schema.Check(ctx, config)
	if err != nil {
		return err
	}
	if err := c.tell(e, report); err != nil {
		return err
	}
	return report.Err()
}

type schemaDiff struct {
	contractFlags
	Against string `help:"Registry or directory to compare with; default is the registry." placeholder:"URL|DIR"`
}

func (c *schemaDiff) Run(ctx context.Context, e *env) error {
	config, err := c.config(e, c.Against)
	if err != nil {
		return err
	}
	report, err := schema.Diff(ctx, config)
	if err != nil {
		return err
	}
	return c.tell(e, report)
}

type schemaRegister struct {
	database
	contractFlags
}

func (c *schemaRegister) Run(ctx context.Context, e *env) error {
	config, err := c.config(e, "")
	if err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	config.DB = pool
	report, err := schema.Register(ctx, config)
	if err != nil {
		return err
	}
	return c.tell(e, report)
}
