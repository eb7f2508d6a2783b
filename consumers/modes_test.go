package consumers_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/outbox"
)

// Every statement of the inbox (claim, look-up, wait, attempts, park, emit) in
// each mode of pgx: a pooler in transaction mode takes the last two only.
func TestInboxInEveryExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			config := d.pool.Config()
			config.ConnConfig.DefaultQueryExecMode = mode
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			consumer := effectConsumer()
			consumer.Prepare = func(context.Context, *consumers.Message) (any, error) { return nil, nil } //nolint:nilnil // nothing to prepare
			consumer.Apply = func(ctx context.Context, tx consumers.Tx, m consumers.Delivery) error {
				if string(m.Value) == "bad" {
					return errors.New("not this one")
				}
				tx.Queue("INSERT INTO effect (event_id, key) VALUES ($1::uuid, $2)", m.ID.String(), string(m.Key))
				return tx.Emit(ctx, m.Message, outbox.Event{AggregateType: "x", AggregateID: "1", Type: "Noted"})
			}
			in := newInbox(t, consumers.Config{Pool: pool, MaxAttempts: 2}, consumer)
			in.Suspect(1)
			late, plain := message(t, 2, "b", "good"), message(t, 3, "c", "good")
			late.Timestamp = time.UnixMilli(math.MaxInt64) // what waits must fit, whatever a producer sent
			plain.Headers = []consumers.Header{{Name: "gapless_position", Value: []byte("1/0/1/0")}}
			got := process(t, in, message(t, 0, "a", "good"), message(t, 1, "b", "bad"), late, plain, plain)
			want := []consumers.Outcome{consumers.Applied, consumers.Parked, consumers.Waiting, consumers.Applied, consumers.Duplicate}
			if !slices.Equal(got, want) || d.effects(t) != "a c" {
				t.Errorf("outcomes %v, effects %q\nwant     %v", got, d.effects(t), want)
			}
			if n := d.int(t, "SELECT attempts FROM gapless.dead_letter"); n != 2 {
				t.Errorf("%d attempts, want 2", n)
			}
			if n := d.int(t, "SELECT count(*) FROM gapless.outbox"); n != 2 {
				t.Errorf("%d events emitted, want 2", n)
			}
		})
	}
}
