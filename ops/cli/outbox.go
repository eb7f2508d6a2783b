package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/ops/inspect"
)

type outboxCommands struct {
	List outboxList `cmd:"" help:"List events, newest first."`
	Show outboxShow `cmd:"" help:"Show one event with headers and payload, readable whatever its encoding."`
}

type outboxList struct {
	listing
	Follow        bool   `help:"Go on with what is written from now on, or --since, until interrupted." short:"f"`
	AggregateType string `help:"Only this aggregate type." placeholder:"NAME"`
	AggregateID   string `help:"Only this aggregate." name:"aggregate-id" placeholder:"ID"`
	Type          string `help:"Only this event type." placeholder:"NAME"`
}

func (c *outboxList) Run(ctx context.Context, e *env) error {
	if err := c.valid(); err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	filter := inspect.OutboxFilter{
		AggregateType: c.AggregateType, AggregateID: c.AggregateID, Type: c.Type, Since: c.Since.Time, Limit: c.Limit,
	}
	if c.Follow {
		return inspect.FollowOutbox(ctx, pool, filter, inspect.Follow{}, func(r inspect.OutboxRow) error {
			if c.Output == "json" {
				return c.line(e, r)
			}
			_, err := fmt.Fprintf(e.stdout, "%s  %s  %-20s %-20s v%-4d %6d B  %s\n",
				stamp(r.CreatedAt), r.ID, terminal.Line(r.AggregateType), terminal.Line(r.Type), r.Version, r.PayloadBytes, terminal.Line(r.AggregateID))
			return err
		})
	}
	rows, err := inspect.Outbox(ctx, pool, filter)
	if err != nil {
		return err
	}
	return c.write(e, rows, func(w *tabwriter.Writer) {
		row(w, "CREATED", "ID", "AGGREGATE", "AGGREGATE ID", "VERSION", "TYPE", "BYTES", "CONTENT TYPE")
		for _, r := range rows {
			row(w, r.CreatedAt, r.ID, r.AggregateType, r.AggregateID, r.Version, r.Type, r.PayloadBytes, r.ContentType)
		}
	})
}

type outboxShow struct {
	database
	output
	ID string `arg:"" help:"Event id."`
}

func (c *outboxShow) Run(ctx context.Context, e *env) error {
	id, err := parseID("ID", c.ID)
	if err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	event, err := inspect.ShowOutbox(ctx, pool, id)
	if err != nil {
		return err
	}
	return c.write(e, event, func(w *tabwriter.Writer) {
		row(w, "id", event.ID)
		row(w, "created", event.CreatedAt)
		row(w, "aggregate", event.AggregateType+" "+event.AggregateID)
		row(w, "version", event.Version)
		row(w, "type", event.Type)
		row(w, "bytes", event.PayloadBytes)
		for _, name := range slices.Sorted(maps.Keys(event.Headers)) {
			row(w, "header "+name, event.Headers[name])
		}
		row(w, "payload", string(event.Payload))
	})
}
