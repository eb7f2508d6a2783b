package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/sql"
)

type relayPause struct {
	database
	kafka
	storage
	Slot   string `help:"Slot of the relays." default:"gapless"`
	Reason string `help:"Why; it is shown by 'relay status' and kept in gapless.audit, or in the topic of the state." required:"" placeholder:"TEXT"`
}

func (c *relayPause) Run(ctx context.Context, e *env) error {
	return c.set(ctx, e, true, "paused: within a second or so nothing more is sent; the slot is kept, and with it WAL")
}

type relayResume struct{ relayPause }

func (c *relayResume) Run(ctx context.Context, e *env) error {
	return c.set(ctx, e, false, "resumed")
}

func (c *relayPause) set(ctx context.Context, e *env, paused bool, done string) error {
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	in, err := c.where(ctx, pool, c.kafka, e)
	if err != nil {
		return err
	}
	changed := 1
	if in != nil {
		if err = in.Pause(ctx, c.Slot, paused, c.Reason); errors.Is(err, inspect.ErrNotFound) {
			changed, err = 0, nil
		}
	} else {
		err = pool.QueryRow(ctx, sql.RelayPause, c.Slot, paused, c.Reason).Scan(&changed)
	}
	if err != nil {
		return fmt.Errorf("change control of slot %q: %w", c.Slot, err)
	}
	if changed == 0 {
		return fmt.Errorf("there is no slot %q and no relay of it in this database: see 'gapless relay status'", c.Slot)
	}
	_, err = fmt.Fprintf(e.stdout, "slot %s %s\n", c.Slot, done)
	return err
}
