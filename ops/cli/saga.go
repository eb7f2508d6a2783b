package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/gapless/gapless/consumers/saga"
	"github.com/gapless/gapless/ops/inspect"
)

type sagaCommands struct {
	List  sagaList  `cmd:"" help:"List sagas, last moved first."`
	Show  sagaShow  `cmd:"" help:"Show one saga with its steps and the replies that moved nothing."`
	Graph sagaGraph `cmd:"" help:"Print the saga's steps and compensations in Graphviz's language."`
}

type sagaList struct {
	listing
	Status string `help:"Only this status." enum:",running,waiting,compensating,completed,cancelled,needs_attention" default:"" placeholder:"running|waiting|compensating|completed|cancelled|needs_attention"`
	Order  string `help:"Only this order." placeholder:"ID"`
	Open   bool   `help:"Only those that are not over."`
	Stuck  bool   `help:"Only those that a person should look at."`
}

func (c *sagaList) Run(ctx context.Context, e *env) error {
	if err := c.valid(); err != nil {
		return err
	}
	order, err := parseID("--order", c.Order)
	if err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	sagas, err := inspect.Sagas(ctx, pool, inspect.SagaFilter{
		Status: c.Status, OrderID: order, Open: c.Open, Stuck: c.Stuck, Since: c.Since.Time, Limit: c.Limit,
	})
	if err != nil {
		return err
	}
	return c.write(e, sagas, func(w *tabwriter.Writer) {
		row(w, "MOVED", "SAGA", "ORDER", "STATUS", "STEP", "REASON", "STUCK")
		for _, s := range sagas {
			row(w, s.UpdatedAt, s.SagaID, s.OrderID, s.Status, s.Step, s.Reason, s.Stuck)
		}
	})
}

type sagaShow struct {
	database
	output
	ID string `arg:"" help:"Saga id or order id."`
}

func (c *sagaShow) Run(ctx context.Context, e *env) error {
	id, err := parseID("ID", c.ID)
	if err != nil {
		return err
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	s, err := inspect.ShowSaga(ctx, pool, id)
	if err != nil {
		return err
	}
	return c.write(e, s, func(w *tabwriter.Writer) {
		row(w, "saga", s.SagaID)
		row(w, "order", s.OrderID)
		row(w, "status", s.Status)
		row(w, "step", s.Step)
		row(w, "reason", s.Reason)
		row(w, "started", s.StartedAt)
		row(w, "moved", s.UpdatedAt)
		if s.Stuck != "" {
			row(w, "stuck", s.Stuck)
		}
		if s.Deadline != nil {
			row(w, "deadline", *s.Deadline)
		}
		fmt.Fprintln(w)
		row(w, "STARTED", "STEP", "DIRECTION", "STATUS", "ATTEMPTS", "REPLY", "ERROR")
		for _, p := range s.Steps {
			row(w, p.StartedAt, p.Step, p.Direction, p.Status, p.Attempts, p.ReplyType, p.Error)
		}
		for _, r := range s.Ignored {
			row(w, r.ReceivedAt, "-", "-", "ignored", "-", r.Type, r.Why)
		}
	})
}

type sagaGraph struct{}

func (sagaGraph) Run(e *env) error {
	_, err := fmt.Fprint(e.stdout, saga.Definition().DOT())
	return err
}
