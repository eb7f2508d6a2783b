package outboxtest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/outbox/outboxtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// recorder is a testing.TB that takes the failure instead of the test.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Helper() {}

// failureOf runs check on a goroutine that Fatalf may end.
func failureOf(t *testing.T, check func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(r)
	}()
	<-done
	return r.failure
}

func written(t *testing.T, encoder outbox.Encoder) pgx.Tx {
	t.Helper()
	tx, err := pgtest.NewDB(t).Pool(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.WithoutCancel(t.Context())) })
	err = outbox.New(outbox.Config{Encoder: encoder}).Append(t.Context(), tx,
		outbox.Event{AggregateType: "order", AggregateID: "o-1", AggregateVersion: 1, Message: &gaplessv1.OrderPlaced{OrderId: "o-1", TotalMinor: 7}, Headers: map[string]string{"tenant": "a"}},
		outbox.Event{AggregateType: "order", AggregateID: "o-2", AggregateVersion: 1, Message: &gaplessv1.OrderPlaced{OrderId: "o-2"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func TestRequireAppended(t *testing.T) {
	t.Parallel()
	subject := contracts.Contract{AggregateType: "order", Message: (*gaplessv1.OrderPlaced)(nil)}.Subject()
	for name, encoder := range map[string]outbox.Encoder{
		"json":     nil,
		"protobuf": contracts.NewProtobuf(map[string]contracts.SchemaID{subject: {ID: 3, Index: []int{2}}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tx := written(t, encoder)
			got := outboxtest.RequireAppended(t, tx, outbox.Event{Message: &gaplessv1.OrderPlaced{OrderId: "o-1", TotalMinor: 7}, Headers: map[string]string{"tenant": "a"}})
			if got.AggregateVersion != 1 || got.Type != "OrderPlaced" || got.CreatedAt.IsZero() {
				t.Errorf("got %+v", got)
			}
			var m gaplessv1.OrderPlaced
			outboxtest.Decode(t, got, &m)
			if m.GetTotalMinor() != 7 {
				t.Errorf("decoded %v", &m)
			}
			outboxtest.RequireNotAppended(t, tx, outbox.Event{Type: "OrderCancelled"})

			for want, e := range map[string]outbox.Event{
				"no event matches {AggregateID: o-3}":     {AggregateID: "o-3"},
				"2 events match {Type: OrderPlaced}":      {Type: "OrderPlaced"},
				"no event matches {AggregateVersion: 2}":  {AggregateVersion: 2},
				"no event matches {Message":               {Message: &gaplessv1.OrderPlaced{OrderId: "o-1", TotalMinor: 8}},
				"no event matches {Headers: map[tenant:b": {Headers: map[string]string{"tenant": "b"}},
				`no event matches {Payload: "x"}`:         {Payload: []byte("x")},
				"no event matches {AggregateType: stock}": {AggregateType: "stock"},
			} {
				if failure := failureOf(t, func(tb testing.TB) { outboxtest.RequireAppended(tb, tx, e) }); !strings.Contains(failure, want) {
					t.Errorf("failure %q, want %q", failure, want)
				}
			}
			if failure := failureOf(t, func(tb testing.TB) { outboxtest.RequireNotAppended(tb, tx, outbox.Event{AggregateID: "o-1"}) }); !strings.Contains(failure, "1 events match") {
				t.Errorf("failure %q", failure)
			}
		})
	}
}

func TestNothingAppended(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	outboxtest.RequireNotAppended(t, pool, outbox.Event{})
	if failure := failureOf(t, func(tb testing.TB) { outboxtest.RequireAppended(tb, pool, outbox.Event{}) }); !strings.Contains(failure, "the outbox holds: nothing") {
		t.Errorf("failure %q", failure)
	}
}
