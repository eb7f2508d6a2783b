package consumerstest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/consumerstest"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/outbox"
)

// counter counts deliveries by key in a table of its own and emits an event for
// each.
func counter(t *testing.T) (string, consumers.Consumer) {
	t.Helper()
	db := pgtest.NewDB(t)
	if _, err := db.Pool(t).Exec(t.Context(), "CREATE TABLE counts (key text PRIMARY KEY, n int NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	return db.URL, consumers.Consumer{
		Name: "counter", Topics: []string{"outbox.event.order"}, Types: []string{"Counted"},
		Apply: func(ctx context.Context, tx consumers.Tx, d consumers.Delivery) error {
			if string(d.Value) == "bad" {
				return consumers.Poison("bad_value", errors.New("value is bad"))
			}
			tx.Queue("INSERT INTO counts VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET n = counts.n + 1", string(d.Key))
			return tx.Emit(ctx, d.Message, outbox.Event{AggregateType: "count", AggregateID: string(d.Key), Type: "Noted"})
		},
	}
}

const counts = "SELECT key, n FROM counts ORDER BY key"

func TestEachWayOfDeliveryHasTheSameEffect(t *testing.T) {
	t.Parallel()
	url, consumer := counter(t)
	h := consumerstest.New(t, url, consumer)
	var messages []*consumers.Message
	for _, key := range []string{"a", "b", "a", "c"} {
		messages = append(messages, h.Record("order", key, "Counted", []byte("good")))
	}
	h.Repeatedly(messages, func() string {
		return h.Text(counts) + h.Text("SELECT aggregateid, count(*) FROM gapless.outbox GROUP BY 1 ORDER BY 1")
	}, func() {
		if _, err := h.Pool().Exec(t.Context(), "TRUNCATE counts, gapless.outbox"); err != nil {
			t.Fatal(err)
		}
	})
	if got, want := h.Text(counts), "(a,2)\n(b,1)\n(c,1)"; got != want {
		t.Errorf("counts are\n%s\nwant\n%s", got, want)
	}
}

// What one way parks must not block the next one's keys.
func TestRepeatedlyWithAPoison(t *testing.T) {
	t.Parallel()
	url, consumer := counter(t)
	h := consumerstest.New(t, url, consumer, func(c *consumers.Config) { c.Generation = 2 })
	messages := []*consumers.Message{
		h.Record("order", "a", "Counted", []byte("good")),
		h.Record("order", "a", "Counted", []byte("bad")),
		h.Record("order", "a", "Counted", []byte("good")),
	}
	outcomes := func() string { return h.Text("SELECT outcome, count(*) FROM gapless.inbox GROUP BY 1 ORDER BY 1") }
	h.Repeatedly(messages, func() string {
		return h.Text(counts) + outcomes() + h.Text("SELECT key, reason FROM gapless.dead_letter") + h.Text("SELECT key FROM gapless.key_block_message")
	}, func() {
		if _, err := h.Pool().Exec(t.Context(), "TRUNCATE counts, gapless.outbox"); err != nil {
			t.Fatal(err)
		}
	})
	if got, want := outcomes(), "(applied,1)\n(parked,1)\n(waiting,1)"; got != want {
		t.Errorf("outcomes\n%s\nwant\n%s", got, want)
	}
}

// A harness whose crash did not roll back, or whose second delivery was not one,
// would pass everything: an effect that is not idempotent must be caught.
func TestRepeatedlyCatchesAnEffectOutsideTheTransaction(t *testing.T) {
	t.Parallel()
	url, consumer := counter(t)
	calls := 0
	apply := consumer.Apply
	consumer.Apply = func(ctx context.Context, tx consumers.Tx, d consumers.Delivery) error {
		calls++
		return apply(ctx, tx, d)
	}
	h := consumerstest.New(t, url, consumer)
	m := h.Record("order", "a", "Counted", []byte("good"))
	h.Crash(consumerstest.AfterApply, 1, m)
	if got := h.Int("SELECT count(*) FROM counts"); got != 0 {
		t.Fatalf("%d rows after a crash before COMMIT, want none", got)
	}
	h.Feed(m)
	if calls != 2 {
		t.Errorf("the handler was called %d times, want 2: the crash did not bring the message back", calls)
	}
}

func TestPoisonIsFoundAndItsKeyHeld(t *testing.T) {
	t.Parallel()
	url, consumer := counter(t)
	h := consumerstest.New(t, url, consumer)
	bad := h.Record("order", "k", "Counted", []byte("bad"))
	got := h.Feed(
		h.Record("order", "k", "Counted", []byte("good")), bad,
		h.Record("order", "k", "Counted", []byte("good")), h.Record("order", "l", "Counted", []byte("good")),
		h.Record("order", "l", "Other", nil),
	)
	want := []consumers.Outcome{consumers.Applied, consumers.Parked, consumers.Waiting, consumers.Applied, consumers.Ignored}
	if !slices.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	if keys := h.BlockedKeys(); !slices.Equal(keys, []string{"k"}) {
		t.Errorf("blocked keys %q, want k", keys)
	}
	letters := h.DeadLetters()
	if len(letters) != 1 || letters[0].EventID != bad.ID || letters[0].Reason != "bad_value" {
		t.Errorf("dead letters %+v, want the bad one with its reason", letters)
	}
	if types := h.Types(); !slices.Equal(types, []string{"Noted", "Noted"}) {
		t.Errorf("emitted %q, want two Noted", types)
	}
	if o := h.Outcomes(); o[consumers.Applied] != 2 || o[consumers.Waiting] != 1 || o[consumers.Parked] != 1 || o[consumers.Ignored] != 1 {
		t.Errorf("inbox outcomes %v", o)
	}
}

func TestFeedForEndsWhileADependencyIsDown(t *testing.T) {
	t.Parallel()
	url, consumer := counter(t)
	consumer.Apply = func(context.Context, consumers.Tx, consumers.Delivery) error {
		return consumers.Unavailable(&pgconn.PgError{Message: "the other side is down"})
	}
	h := consumerstest.New(t, url, consumer)
	got := h.FeedFor(50*time.Millisecond, h.Record("order", "a", "Counted", []byte("good")))
	if !slices.Equal(got, []consumers.Outcome{""}) || len(h.DeadLetters()) != 0 {
		t.Errorf("outcomes %q and %d dead letters, want nothing settled", got, len(h.DeadLetters()))
	}
}
