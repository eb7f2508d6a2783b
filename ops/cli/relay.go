package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/ops/inspect"
)

type relayCommands struct {
	Run     relayRun     `cmd:"" default:"withargs" help:"Stream the outbox to Kafka (the default)."`
	Status  relayStatus  `cmd:"" help:"Where each relay of this database is, and how far behind."`
	Pause   relayPause   `cmd:"" help:"Send nothing until 'relay resume'; for all relays of the slot."`
	Resume  relayResume  `cmd:"" help:"Go on after 'relay pause'."`
	Redrive relayRedrive `cmd:"" help:"Send parked rows, and what waits behind them, in the order of their keys."`
	Discard relayDiscard `cmd:"" help:"Give parked rows up, and let what waits behind them go."`
	Forget  relayForget  `cmd:"" help:"Let the position of a slot go that is kept in Kafka: the next relay begins where the slot is."`
	Replay  relayReplay  `cmd:"" help:"Send rows of an outbox table again: by time, aggregate, type or id."`
	Replays relayReplays `cmd:"" help:"Replays, and how far each is."`
	Import  relayImport  `cmd:"" help:"Make a configuration of a Debezium connector's."`
}

type relayStatus struct {
	database
	kafka
	storage
	output
	Slot   string        `help:"Only this slot." placeholder:"NAME"`
	Sample time.Duration `help:"Between two looks, to tell how fast WAL grows; 0 takes one look." default:"1s"`
}

func (c *relayStatus) Run(ctx context.Context, e *env) error {
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	relays, err := c.relays(ctx, pool, e)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.write(e, relays, func(*tabwriter.Writer) {})
	}
	if len(relays) == 0 {
		_, err := fmt.Fprintln(e.stdout, "no slot and no progress of a relay in this database: run 'gapless migrate up'")
		return err
	}
	return inspect.WriteRelays(e.stdout, relays)
}

func (c *relayStatus) relays(ctx context.Context, pool *pgxpool.Pool, e *env) ([]inspect.Relay, error) {
	in, err := c.where(ctx, pool, c.kafka, e)
	if err != nil {
		return nil, err
	}
	if in != nil {
		return in.Measured(ctx, c.Slot, c.Sample)
	}
	return inspect.MeasuredRelays(ctx, pool, c.Slot, c.Sample)
}
