package cli

import (
	"context"
	"text/tabwriter"

	"github.com/gapless/gapless/ops/inspect"
)

type inboxCommands struct {
	List inboxList `cmd:"" help:"List what consumers did with events, newest events first."`
}

type inboxList struct {
	listing
	Consumer string `help:"Only this consumer." placeholder:"NAME"`
	Event    string `help:"Only this event." placeholder:"ID"`
	Outcome  string `help:"Only this outcome." enum:",applied,ignored,parked,waiting,discarded" default:"" placeholder:"applied|ignored|parked|waiting|discarded"`
	Topic    string `help:"Only this topic." placeholder:"NAME"`
}

func (c *inboxList) Run(ctx context.Context, e *env) error {
	if err := c.valid(); err != nil {
		return err
	}
	event, err := parseID("--event", c.Event)
	if err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	claims, err := inspect.Inbox(ctx, pool, inspect.InboxFilter{
		Consumer: c.Consumer, EventID: event, Outcome: c.Outcome, Topic: c.Topic, Since: c.Since.Time, Limit: c.Limit,
	})
	if err != nil {
		return err
	}
	return c.write(e, claims, func(w *tabwriter.Writer) {
		row(w, "APPLIED", "CONSUMER", "EVENT", "OUTCOME", "TOPIC", "PARTITION", "OFFSET", "POSITION")
		for _, r := range claims {
			row(w, r.AppliedAt, r.Consumer, r.EventID, r.Outcome, r.Topic, r.Partition, r.Offset, r.Position)
		}
	})
}
