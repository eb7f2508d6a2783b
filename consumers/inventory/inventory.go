package inventory

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
)

// Name of the consumer.
const Name = "inventory"

// Config of the participant. There is nothing to set yet.
type Config struct{}

// New returns the participant. It does no I/O.
func New(Config) consumers.Consumer {
	return consumers.Consumer{
		Name:       Name,
		Topics:     []string{contracts.Topic(contracts.InventoryCommand)},
		Types:      []string{"ReserveStock", "ReleaseStock"},
		ApplyBatch: applyBatch,
	}
}

// command is a decoded message of the batch. Lines are nil for a release.
type command struct {
	*consumers.Message
	order   uuid.UUID
	lines   []line
	release bool
}

func applyBatch(ctx context.Context, tx consumers.Tx, batch []consumers.Delivery) error {
	commands := make([]command, len(batch))
	for i, d := range batch {
		c, err := decode(d.Message)
		if err != nil {
			return err
		}
		commands[i] = c
	}
	w, err := load(ctx, tx, commands)
	if err != nil {
		return err
	}
	for _, c := range commands {
		r := w.reservation(c.order)
		reply := w.decide(r, c)
		r.step = c.StepID()
		r.version++
		err := tx.Emit(ctx, c.Message, participant.Reply(c.Message, contracts.Stock, c.order, r.version, reply))
		if err != nil {
			return err
		}
	}
	return w.queue(tx)
}

func decode(m *consumers.Message) (command, error) {
	body, order, err := participant.Decode(m)
	if err != nil {
		return command{}, err
	}
	c := command{Message: m, order: order}
	switch body := body.(type) {
	case *gaplessv1.ReserveStock:
		c.lines, err = merge(body.GetLines())
	case *gaplessv1.ReleaseStock:
		c.release = true
	default:
		err = fmt.Errorf("type %q is no command of this participant", m.Type)
	}
	if err != nil {
		return command{}, consumers.Poison(participant.Invalid, err)
	}
	return c, nil
}
