package trace

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// claim is an inbox row.
type claim struct {
	EventID uuid.UUID
	Claim
	Topic     string
	Partition int32
	Offset    int64
	Position  string
}

func (t *teller) claims(ctx context.Context, ids []uuid.UUID) ([]claim, error) {
	var consumers []string
	for _, consumer := range t.Consumers {
		consumers = append(consumers, consumer.Name)
	}
	rows, _ := t.Pool.Query(ctx, sql.TraceClaims, pgx.StrictNamedArgs{"ids": ids, "consumers": consumers})
	var list []claim
	var c claim
	_, err := pgx.ForEachRow(rows, []any{&c.EventID, &c.Consumer, &c.Generation, &c.Outcome, &c.Topic, &c.Partition, &c.Offset, &c.Position, &c.AppliedAt}, func() error {
		list = append(list, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read inbox: %w", err)
	}
	return list, nil
}

func (t *teller) ids() []uuid.UUID {
	var ids []uuid.UUID
	for _, e := range t.story.Events {
		ids = append(ids, e.ID)
	}
	if t.event != uuid.Nil && !slices.Contains(ids, t.event) {
		ids = append(ids, t.event)
	}
	return ids
}

func (t *teller) find(id uuid.UUID) *Event {
	for i := range t.story.Events {
		if t.story.Events[i].ID == id {
			return &t.story.Events[i]
		}
	}
	return nil
}

// readClaims puts claims to their events, and with them the events' places.
func (t *teller) readClaims(ctx context.Context) error {
	if !t.schema.Inbox {
		return nil
	}
	claims, err := t.claims(ctx, t.ids())
	if err != nil {
		return err
	}
	for _, c := range claims {
		e := t.find(c.EventID)
		if e == nil { // its row has gone: all there is to tell
			t.tell(c.AppliedAt, Entry{Store: "inbox", What: fmt.Sprintf("%s: %s", c.Consumer, c.Outcome), ID: c.EventID.String(), Detail: map[string]any{
				"consumer": c.Consumer, "generation": c.Generation, "outcome": c.Outcome, "topic": c.Topic, "partition": c.Partition, "offset": c.Offset, "position": c.Position,
			}})
			continue
		}
		e.Claims = append(e.Claims, c.Claim)
		if e.Record == nil || c.Offset < e.Record.Offset && c.Partition == e.Record.Partition {
			e.Record = &Record{Partition: c.Partition, Offset: c.Offset, Position: c.Position}
		}
	}
	for i := range t.story.Events {
		e := &t.story.Events[i]
		for _, consumer := range t.Consumers {
			if slices.Contains(consumer.Topics, e.Topic) && !slices.ContainsFunc(e.Claims, func(c Claim) bool {
				return c.Consumer == consumer.Name && c.Generation == consumer.Generation
			}) {
				e.Waiting = append(e.Waiting, consumer.Name)
			}
		}
	}
	return nil
}

// readPutAside tells of dead letters, attempts and rows that the relay parked.
func (t *teller) readPutAside(ctx context.Context) error {
	var statements []string
	if t.schema.Inbox {
		statements = append(statements, sql.TracePutAside)
	}
	if t.schema.Outbox {
		statements = append(statements, sql.TraceParked)
	}
	for _, statement := range statements {
		rows, _ := t.Pool.Query(ctx, statement, pgx.StrictNamedArgs{"ids": t.ids()})
		var event uuid.UUID
		var at time.Time
		var e Entry
		_, err := pgx.ForEachRow(rows, []any{&event, &at, &e.Store, &e.What, &e.ID, &e.Detail}, func() error {
			e.Detail["event_id"] = event
			t.tell(at, e)
			e.Detail = nil // the next row gets a map of its own
			return nil
		})
		if err != nil {
			return fmt.Errorf("read what was put aside: %w", err)
		}
	}
	return nil
}
