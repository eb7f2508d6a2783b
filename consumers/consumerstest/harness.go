package consumerstest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/testkit"
)

// Harness feeds one consumer. It is used by one goroutine.
type Harness struct {
	t        testing.TB
	pool     *pgxpool.Pool
	consumer consumers.Consumer
	inbox    *consumers.Inbox
	config   consumers.Config
	encoder  *contracts.Codec
	offsets  map[string]int64
	crash    *crash
}

// Option changes the Config of the inbox under test.
type Option func(*consumers.Config)

// New returns a harness on a migrated database. Retries are quick, so that a
// failing handler ends as a dead letter at once; options come after that.
func New(t testing.TB, databaseURL string, consumer consumers.Consumer, opts ...Option) *Harness {
	t.Helper()
	h := &Harness{t: t, encoder: contracts.NewJSON(), offsets: map[string]int64{}}
	pool, err := pgxpool.New(t.Context(), databaseURL)
	if err != nil {
		t.Fatalf("open pool: %v", err)
	}
	t.Cleanup(pool.Close)
	h.pool = pool
	h.config = consumers.Config{Pool: pool, RetryBackoff: time.Millisecond, MaxAttempts: 3}
	for _, opt := range opts {
		opt(&h.config)
	}
	h.consumer = consumer
	h.restart()
	return h
}

// restart makes a new inbox, as a new process would.
func (h *Harness) restart() {
	h.t.Helper()
	inbox, err := consumers.NewInbox(h.config, h.crashable(h.consumer))
	if err != nil {
		h.t.Fatalf("make inbox: %v", err)
	}
	h.inbox = inbox
}

// Event returns a record of the topic outbox.event.<aggregateType> as the relay
// would send it, with an id of its own and the next offset of its topic.
func (h *Harness) Event(aggregateType, key string, m proto.Message, headers ...consumers.Header) *consumers.Message {
	h.t.Helper()
	value, contentType, _, err := h.encoder.Encode(aggregateType, m)
	if err != nil {
		h.t.Fatalf("encode event: %v", err)
	}
	typ := string(m.ProtoReflect().Descriptor().Name())
	return h.Record(aggregateType, key, typ, value, append(headers, consumers.Header{Name: "content-type", Value: []byte(contentType)})...)
}

// Record is [Harness.Event] for a body of any kind. A nil value is a tombstone.
func (h *Harness) Record(aggregateType, key, typ string, value []byte, headers ...consumers.Header) *consumers.Message {
	h.t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		h.t.Fatalf("make event id: %v", err)
	}
	topic := contracts.Topic(aggregateType)
	m := &consumers.Message{
		ID: id, Type: typ, Topic: topic, Offset: h.offsets[topic], Key: []byte(key), Value: value,
		Timestamp: time.Now().UTC().Truncate(time.Millisecond),
		Headers: append(slices.Clone(headers),
			consumers.Header{Name: "id", Value: []byte(id.String())},
			consumers.Header{Name: "ce_id", Value: []byte(id.String())},
			consumers.Header{Name: "ce_type", Value: []byte(typ)}),
	}
	h.offsets[topic]++
	return m
}

// Again returns the same event as another record: a later offset, as when the
// relay sends it twice.
func (h *Harness) Again(m *consumers.Message) *consumers.Message {
	second := *m
	second.Offset = h.offsets[m.Topic]
	h.offsets[m.Topic]++
	return &second
}

// Feed processes the messages in the given order, in batches, until each has an
// outcome, and returns the outcomes.
func (h *Harness) Feed(messages ...*consumers.Message) []consumers.Outcome {
	h.t.Helper()
	outcomes, err := h.inbox.Process(h.t.Context(), messages...)
	if err != nil {
		h.t.Fatalf("feed: %v", err)
	}
	return outcomes
}

// FeedSingly is Feed with a batch for each message.
func (h *Harness) FeedSingly(messages ...*consumers.Message) []consumers.Outcome {
	h.t.Helper()
	var outcomes []consumers.Outcome
	for _, m := range messages {
		outcomes = append(outcomes, h.Feed(m)...)
	}
	return outcomes
}

// FeedTwice feeds each message twice in a row within the batch, then all once
// more.
func (h *Harness) FeedTwice(messages ...*consumers.Message) {
	h.t.Helper()
	var doubled []*consumers.Message
	for _, m := range messages {
		doubled = append(doubled, m, h.Again(m))
	}
	h.Feed(doubled...)
	h.Feed(messages...)
}

// FeedFor is Feed that gives up after d and returns what is settled by then, for
// a consumer that waits for a dependency. The context's error is not a failure.
func (h *Harness) FeedFor(d time.Duration, messages ...*consumers.Message) []consumers.Outcome {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), d)
	defer cancel()
	outcomes, err := h.inbox.Process(ctx, messages...)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		h.t.Fatalf("feed: %v", err)
	}
	return outcomes
}

// Shuffled returns the messages in another order. The seed is logged and can be
// forced with GAPLESS_SEED.
func (h *Harness) Shuffled(messages ...*consumers.Message) []*consumers.Message {
	h.t.Helper()
	random := rand.New(rand.NewPCG(uint64(testkit.Seed(h.t)), 0))
	list := slices.Clone(messages)
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// AfterUncleanDeath makes the next n messages run with each try recorded
// first, as in the process that follows one which died at work.
func (h *Harness) AfterUncleanDeath(n int) { h.inbox.Suspect(n) }

// Pool is the harness's own, for assertions.
func (h *Harness) Pool() *pgxpool.Pool { return h.pool }

// Int returns the one number that a query gives.
func (h *Harness) Int(query string, args ...any) int64 {
	h.t.Helper()
	var n int64
	if err := h.pool.QueryRow(h.t.Context(), query, args...).Scan(&n); err != nil {
		h.t.Fatalf("query: %v", err)
	}
	return n
}

// Text returns the rows of a query as one string, a line a row, NULL as empty: a
// form in which effects are easily compared.
func (h *Harness) Text(query string, args ...any) string {
	h.t.Helper()
	rows, err := h.pool.Query(h.t.Context(), "SELECT coalesce(string_agg(r::text, E'\\n'), '') FROM ("+query+") AS r", args...)
	if err != nil {
		h.t.Fatalf("query: %v", err)
	}
	text, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		h.t.Fatalf("query: %v", err)
	}
	return text
}
