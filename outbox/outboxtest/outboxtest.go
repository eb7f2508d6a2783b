// Package outboxtest tells a test what its code appended to the outbox.
//
//	tx, _ := pool.Begin(ctx)
//	defer tx.Rollback(ctx)
//	placeOrder(ctx, tx, …)
//	outboxtest.RequireAppended(t, tx, outbox.Event{
//		AggregateType: "order", Type: "OrderPlaced", Message: &orderv1.OrderPlaced{OrderId: "o-1"},
//	})
//
// It reads the table with the caller's transaction, so that nothing has to be
// committed and tests do not see each other's events. Events of outbox.ModeWAL
// are in no table and cannot be seen.
package outboxtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/sql"
)

// Querier reads: a transaction, a connection or a pool of pgx.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Event is a row of the outbox. Message is nil: see [Decode].
type Event struct {
	outbox.Event
	CreatedAt time.Time
}

// Events returns every event that db can see, in order of id, which within one
// process is the order in which they were appended.
func Events(t testing.TB, db Querier) []Event {
	t.Helper()
	rows, err := db.Query(t.Context(), sql.OutboxEvents)
	if err != nil {
		t.Fatalf("read outbox: %v", err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
		var id uuid.UUID
		var version *int64
		err = row.Scan(&id, &e.AggregateType, &e.AggregateID, &version, &e.Type, &e.Payload, &e.Headers, &e.CreatedAt)
		e.ID = id
		if version != nil {
			e.AggregateVersion = *version
		}
		return e, err
	})
	if err != nil {
		t.Fatalf("read outbox: %v", err)
	}
	return events
}

// RequireAppended fails the test unless exactly one event matches want, and
// returns it. Only fields of want that are set are compared: a Message with
// what the payload holds, whatever its encoding; of Headers, the names given.
func RequireAppended(t testing.TB, db Querier, want outbox.Event) Event {
	t.Helper()
	matches := matching(Events(t, db), want)
	switch len(matches) {
	case 1:
		return matches[0]
	case 0:
		t.Fatalf("no event matches %s; the outbox holds:%s", describe(want), list(Events(t, db)))
	default:
		t.Fatalf("%d events match %s:%s", len(matches), describe(want), list(matches))
	}
	return Event{}
}

// RequireNotAppended fails the test if an event matches want, by the rules of
// [RequireAppended]. The zero Event matches all.
func RequireNotAppended(t testing.TB, db Querier, want outbox.Event) {
	t.Helper()
	if matches := matching(Events(t, db), want); len(matches) > 0 {
		t.Fatalf("%d events match %s:%s", len(matches), describe(want), list(matches))
	}
}

// Decode reads an event's payload into m, by its content-type.
func Decode(t testing.TB, e Event, m proto.Message) {
	t.Helper()
	if err := contracts.Unmarshal(e.Headers[outbox.HeaderContentType], e.Payload, m); err != nil {
		t.Fatalf("decode event %s: %v", e.ID, err)
	}
}

func matching(events []Event, want outbox.Event) []Event {
	var list []Event
	for _, e := range events {
		if matches(e, want) {
			list = append(list, e)
		}
	}
	return list
}

func matches(got Event, want outbox.Event) bool {
	switch {
	case want.ID != uuid.Nil && want.ID != got.ID,
		want.AggregateType != "" && want.AggregateType != got.AggregateType,
		want.AggregateID != "" && want.AggregateID != got.AggregateID,
		want.AggregateVersion != 0 && want.AggregateVersion != got.AggregateVersion,
		want.Type != "" && want.Type != got.Type,
		want.Payload != nil && string(want.Payload) != string(got.Payload):
		return false
	}
	for name, value := range want.Headers {
		if v, ok := got.Headers[name]; !ok || v != value {
			return false
		}
	}
	if want.Message == nil {
		return true
	}
	if want.Type == "" && got.Type != string(want.Message.ProtoReflect().Descriptor().Name()) {
		return false
	}
	m := want.Message.ProtoReflect().New().Interface()
	err := contracts.Unmarshal(got.Headers[outbox.HeaderContentType], got.Payload, m)
	return err == nil && proto.Equal(m, want.Message)
}

// describe names the fields of want that are set.
func describe(want outbox.Event) string {
	var parts []string
	add := func(name string, set bool, value any) {
		if set {
			parts = append(parts, fmt.Sprintf("%s: %v", name, value))
		}
	}
	add("ID", want.ID != uuid.Nil, want.ID)
	add("AggregateType", want.AggregateType != "", want.AggregateType)
	add("AggregateID", want.AggregateID != "", want.AggregateID)
	add("AggregateVersion", want.AggregateVersion != 0, want.AggregateVersion)
	add("Type", want.Type != "", want.Type)
	add("Message", want.Message != nil, want.Message)
	add("Payload", want.Payload != nil, fmt.Sprintf("%q", want.Payload))
	add("Headers", len(want.Headers) > 0, want.Headers)
	return "{" + strings.Join(parts, ", ") + "}"
}

func list(events []Event) string {
	if len(events) == 0 {
		return " nothing"
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n\t%s %s %s version %d, headers %v, payload %q", e.AggregateType, e.AggregateID, e.Type, e.AggregateVersion, e.Headers, e.Payload)
	}
	return b.String()
}
