package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/gapless/gapless/goose"
)

type migrateCommands struct {
	Up     migrateUp     `cmd:"" help:"Apply what is missing, then make the slot."`
	Down   migrateDown   `cmd:"" help:"Drop the slot and the schema, with all data."`
	Status migrateStatus `cmd:"" help:"List the migrations."`
	Print  migratePrint  `cmd:"" help:"Print plain SQL for a DBA."`
}

type migration struct {
	Component []string `help:"Only these: outbox, inbox, shop." enum:"outbox,inbox,shop" placeholder:"NAME"`
	NoRoles   bool     `help:"Make no group roles (managed databases)."`
	NoSlot    bool     `help:"Make no replication slot."`
	Slot      string   `help:"Name of the slot." default:"gapless"`
}

func (m migration) config(e *env, url string) goose.Config {
	return goose.Config{
		DatabaseURL: url, Components: m.Component, NoRoles: m.NoRoles, NoSlot: m.NoSlot, Slot: m.Slot, Logger: e.log,
	}
}

type migrateUp struct {
	database
	migration
}

func (c *migrateUp) Run(ctx context.Context, e *env) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	applied, err := goose.Up(ctx, c.config(e, url))
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%d migrations applied\n", len(applied))
	return nil
}

type migrateDown struct {
	database
	migration
	Yes bool `help:"Yes, lose all data in these tables."`
}

func (c *migrateDown) Run(ctx context.Context, e *env) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	if !c.Yes {
		return usage("migrate down loses all data in the tables of Gapless: say so with --yes")
	}
	return goose.Down(ctx, c.config(e, url))
}

type migrateStatus struct {
	database
	migration
	output
}

func (c *migrateStatus) Run(ctx context.Context, e *env) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	list, err := goose.List(ctx, c.config(e, url))
	if err != nil {
		return err
	}
	return c.write(e, list, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "COMPONENT\tMIGRATION\tAPPLIED")
		for _, s := range list {
			at := "no"
			if s.Applied {
				at = s.AppliedAt.UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", s.Component, s.Name, at)
		}
	})
}

type migratePrint struct {
	migration
}

func (c *migratePrint) Run(e *env) error { return goose.Print(e.stdout, c.config(e, "")) }
