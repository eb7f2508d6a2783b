package trace

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

var (
	// ErrNotFound means that no store knows the id.
	ErrNotFound = errors.New("not found")
	// ErrBadID means that it is no id: neither a UUID nor 32 hexadecimal digits.
	ErrBadID = errors.New("neither a UUID nor a trace id of 32 hexadecimal digits")
)

// Trace tells the story of an order id, event id, saga id or trace id. It
// returns an error that is [ErrBadID] or [ErrNotFound] when there is none.
func Trace(ctx context.Context, c Config, id string) (Story, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Story{}, err
	}
	t := teller{Config: c, story: Story{Query: id, Events: []Event{}, Entries: []Entry{}}}
	if err := t.readSchema(ctx); err != nil {
		return Story{}, err
	}
	if err := t.resolve(ctx, id); err != nil {
		return Story{}, fmt.Errorf("trace %q: %w", id, err)
	}
	for _, step := range []func(context.Context) error{t.readOrder, t.readEvents, t.readClaims, t.readKafka, t.readPutAside} {
		if err := step(ctx); err != nil {
			return Story{}, fmt.Errorf("trace %q: %w", id, err)
		}
	}
	t.tellEvents()
	slices.SortStableFunc(t.story.Entries, func(a, b Entry) int { return a.sort.Compare(b.sort) })
	return t.story, nil
}

type teller struct {
	Config
	schema schema
	story  Story
	event  uuid.UUID // asked for, when no row of it is left
	asked  bool      // Kafka, for every event
}

type schema struct {
	Outbox       bool
	Inbox        bool
	Orders       bool
	Participants bool
	OutboxFloor  *time.Time
	InboxFloor   *time.Time
}

func (t *teller) readSchema(ctx context.Context) error {
	rows, _ := t.Pool.Query(ctx, sql.VerifySchema)
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[schema])
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	t.schema = s
	return nil
}

// resolve finds the key that an id belongs to.
func (t *teller) resolve(ctx context.Context, text string) error {
	plain := strings.ToLower(strings.TrimSpace(text))
	if raw, err := hex.DecodeString(plain); err == nil && len(raw) == 16 {
		if err := t.resolveTrace(ctx, plain); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	id, err := uuid.Parse(plain)
	if err != nil {
		return ErrBadID
	}
	return t.resolveID(ctx, id)
}

func (t *teller) resolveTrace(ctx context.Context, trace string) error {
	statement := sql.TraceFindTrace
	if !t.schema.Orders {
		statement = sql.TraceFindTraceEvent
	}
	if !t.schema.Outbox {
		return ErrNotFound
	}
	err := t.one(ctx, statement, pgx.StrictNamedArgs{"trace": trace}, &t.story.Key)
	if err != nil {
		return err
	}
	t.story.Kind, t.story.TraceID = "trace", trace
	t.noteOrder()
	return nil
}

func (t *teller) resolveID(ctx context.Context, id uuid.UUID) error {
	args := pgx.StrictNamedArgs{"id": id}
	if t.schema.Orders {
		var order uuid.UUID
		if err := t.one(ctx, sql.TraceFindOrder, args, &t.story.Kind, &order); !errors.Is(err, ErrNotFound) {
			t.story.Key, t.story.OrderID = order.String(), &order
			return err
		}
	}
	t.story.Kind = "event"
	if t.schema.Outbox {
		if err := t.one(ctx, sql.TraceFindEvent, args, &t.story.Key); !errors.Is(err, ErrNotFound) {
			t.noteOrder()
			return err
		}
	}
	if !t.schema.Inbox {
		return ErrNotFound
	}
	// Its row has gone, or lives in another database.
	t.event = id
	err := t.one(ctx, sql.TraceFindDeadLetter, args, &t.story.Key)
	if !errors.Is(err, ErrNotFound) {
		t.noteOrder()
		return err
	}
	claims, err := t.claims(ctx, []uuid.UUID{id})
	if err == nil && len(claims) == 0 {
		err = ErrNotFound
	}
	return err
}

// noteOrder takes a key that is a UUID for an order's; when there is none, the
// order's tables have nothing to tell.
func (t *teller) noteOrder() {
	if order, err := uuid.Parse(t.story.Key); err == nil {
		t.story.OrderID = &order
	}
}

func (t *teller) one(ctx context.Context, statement string, args pgx.StrictNamedArgs, into ...any) error {
	err := t.Pool.QueryRow(ctx, statement, args).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

func (t *teller) readOrder(ctx context.Context) error {
	if t.story.OrderID == nil || !t.schema.Orders {
		return nil
	}
	statements := []string{sql.TraceOrder}
	if t.schema.Participants {
		statements = append(statements, sql.TraceParticipants)
	}
	for _, statement := range statements {
		rows, _ := t.Pool.Query(ctx, statement, pgx.StrictNamedArgs{"order": *t.story.OrderID})
		var e Entry
		var at time.Time
		_, err := pgx.ForEachRow(rows, []any{&at, &e.Store, &e.What, &e.ID, &e.Detail}, func() error {
			t.tell(at, e)
			if status, ok := e.Detail["status"].(string); ok && e.Store == "order" {
				t.story.Status = status
			} else if e.Store == "order" {
				t.story.Status = "pending"
			}
			e.Detail = nil // the next row gets a map of its own
			return nil
		})
		if err != nil {
			return fmt.Errorf("read order: %w", err)
		}
	}
	if len(t.story.Entries) == 0 {
		t.story.OrderID = nil // a key of somebody else
	}
	return nil
}

func (t *teller) tell(at time.Time, e Entry) {
	e.At, e.sort = &at, at
	t.story.Entries = append(t.story.Entries, e)
}

func (t *teller) readEvents(ctx context.Context) error {
	if t.schema.Outbox && t.story.Key != "" {
		rows, _ := t.Pool.Query(ctx, sql.TraceEvents, pgx.StrictNamedArgs{"key": t.story.Key, "limit": MaxEvents + 1})
		e := Event{Claims: []Claim{}}
		_, err := pgx.ForEachRow(rows, []any{&e.ID, &e.AggregateType, &e.Type, &e.Version, &e.CreatedAt, &e.CorrelationID, &e.CausationID, &e.StepID, &e.Traceparent}, func() error {
			e.Topic = t.TopicPrefix + e.AggregateType
			t.story.Events = append(t.story.Events, e)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read outbox: %w", err)
		}
	}
	if len(t.story.Events) > MaxEvents {
		t.story.Events = t.story.Events[:MaxEvents]
		t.story.Notes = append(t.story.Notes, fmt.Sprintf("there are more than %d events; the first ones are told", MaxEvents))
	}
	for _, e := range t.story.Events {
		if parts := strings.Split(e.Traceparent, "-"); t.story.TraceID == "" && len(parts) == 4 {
			t.story.TraceID = parts[1]
		}
	}
	return nil
}

// tellEvents turns events into entries.
func (t *teller) tellEvents() {
	for i := range t.story.Events {
		e := &t.story.Events[i]
		name := e.Type
		if e.Version > 0 {
			name = fmt.Sprintf("%s %d", e.Type, e.Version)
		}
		t.tell(e.CreatedAt, Entry{Store: "outbox", What: name + " for " + e.Topic, ID: e.ID.String(), Detail: map[string]any{
			"type": e.Type, "version": e.Version, "topic": e.Topic, "causation_id": e.CausationID, "correlation_id": e.CorrelationID,
		}})
		switch r := e.Record; {
		case r != nil:
			what := fmt.Sprintf("%s/%d@%d", e.Topic, r.Partition, r.Offset)
			if r.Position != "" {
				what += " from LSN " + lsn(r.Position)
			}
			if r.Repeats > 0 {
				what += fmt.Sprintf(", sent %d times", r.Repeats+1)
			}
			t.story.Entries = append(t.story.Entries, Entry{Store: "kafka", What: what, ID: e.ID.String(), sort: e.CreatedAt, Detail: map[string]any{
				"topic": e.Topic, "partition": r.Partition, "offset": r.Offset, "position": r.Position,
			}})
		case t.asked:
			t.missing(e, "kafka", name+" is not in Kafka yet")
		}
		for _, c := range e.Claims {
			by := c.Consumer
			if c.Generation > 1 {
				by = fmt.Sprintf("%s (generation %d)", by, c.Generation)
			}
			t.tell(c.AppliedAt, Entry{Store: "inbox", What: fmt.Sprintf("%s: %s %s", by, name, c.Outcome), ID: e.ID.String(), Detail: map[string]any{
				"consumer": c.Consumer, "generation": c.Generation, "outcome": c.Outcome, "type": e.Type,
			}})
		}
		for _, consumer := range e.Waiting {
			t.missing(e, "inbox", fmt.Sprintf("%s has not taken %s yet", consumer, name))
		}
	}
}

func (t *teller) missing(e *Event, store, what string) {
	t.story.Entries = append(t.story.Entries, Entry{Store: store, What: what, ID: e.ID.String(), Missing: true, sort: e.CreatedAt})
}

// lsn is the middle of a position: timeline/X/X/index.
func lsn(position string) string {
	_, rest, _ := strings.Cut(position, "/")
	if i := strings.LastIndexByte(rest, '/'); i > 0 {
		rest = rest[:i]
	}
	return cmp.Or(rest, position)
}
