package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/gapless/gapless/ops/inspect"
)

type relayForget struct {
	database
	kafka
	StateTopic string `help:"Topic of a state that is in Kafka." default:"gapless.relay.state" placeholder:"NAME"`
	Slot       string `help:"Slot of the relays." default:"gapless"`
	Reason     string `help:"Why; it is kept in the topic." required:"" placeholder:"TEXT"`
}

// Run lets the position of a slot go.
func (c *relayForget) Run(ctx context.Context, e *env) error {
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	in, err := storage{State: "kafka", StateTopic: c.StateTopic}.where(ctx, pool, c.kafka, e)
	if err != nil {
		return err
	}
	err = in.Forget(ctx, c.Slot, c.Reason)
	if errors.Is(err, inspect.ErrNotFound) {
		return fmt.Errorf("topic %s has no position of slot %q", c.StateTopic, c.Slot)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "the position of slot %s is forgotten: a relay that starts begins where the slot is; parked rows stay\n", c.Slot)
	return err
}
