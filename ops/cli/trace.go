package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/trace"
)

type traceCommand struct {
	database
	kafka
	output
	Export  string        `help:"Write the story as JSON to this file." placeholder:"FILE" type:"path"`
	Timeout time.Duration `help:"How long to look into Kafka." default:"5s"`
	ID      string        `arg:"" help:"Order, event, saga or trace id."`
}

func (c *traceCommand) Run(ctx context.Context, e *env) error {
	var where cluster // without brokers Postgres alone is asked
	if len(c.Brokers) > 0 {
		var err error
		if where, err = c.cluster(); err != nil {
			return err
		}
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	story, err := trace.Trace(ctx, trace.Config{Pool: pool, Brokers: where.seeds, KafkaOptions: where.options, Consumers: traced(), KafkaTimeout: orOff(c.Timeout)}, c.ID)
	switch {
	case errors.Is(err, trace.ErrBadID):
		return usageError{err}
	case err != nil:
		return err
	}
	if c.Export != "" {
		text, err := json.MarshalIndent(story, "", "  ")
		if err != nil {
			return fmt.Errorf("encode story: %w", err)
		}
		if err := os.WriteFile(c.Export, append(text, '\n'), 0o600); err != nil {
			return fmt.Errorf("write story: %w", err)
		}
	}
	if c.Output == "json" {
		return c.write(e, story, func(*tabwriter.Writer) {})
	}
	return story.WriteText(e.stdout)
}

// traced is what a trace has to know of the consumers.
func traced() []trace.Consumer {
	var list []trace.Consumer
	for _, s := range pipeline.Subscriptions() {
		list = append(list, trace.Consumer{Name: s.Name, Topics: s.Topics, Generation: s.Generation})
	}
	return list
}

// timeline is the trace of an order for the API. It reads Postgres alone: no
// request to the API waits for a broker.
func timeline(pool *pgxpool.Pool, _ []string) func(context.Context, uuid.UUID) (json.RawMessage, error) {
	return func(ctx context.Context, id uuid.UUID) (json.RawMessage, error) {
		story, err := trace.Trace(ctx, trace.Config{Pool: pool, Consumers: traced()}, id.String())
		if err != nil {
			return nil, err
		}
		return json.Marshal(story)
	}
}
