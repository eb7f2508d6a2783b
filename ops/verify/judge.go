package verify

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// findBatch is how many ids one statement asks for.
const findBatch = 5_000

// findRows asks the database about events now.
func (r *run) findRows(ctx context.Context, events []int32, f func(e *event, v row)) error {
	ids := make([]uuid.UUID, 0, min(len(events), findBatch))
	for len(events) > 0 {
		n := min(len(events), findBatch)
		ids = ids[:0]
		for _, i := range events[:n] {
			ids = append(ids, r.ledger.events[i].id)
		}
		events = events[n:]
		rows, _ := r.Pool.Query(ctx, sql.VerifyOutboxFind, pgx.StrictNamedArgs{"ids": ids})
		_, err := r.eachRow(rows, func(v row) { f(r.ledger.find(v.id), v) })
		if err != nil {
			return fmt.Errorf("find outbox rows: %w", err)
		}
	}
	return nil
}

// judgePhantoms looks for the rows of records that the snapshot did not have.
// Kafka's ends are older than this look at the database: a row that is not there
// now was not committed when its record was written.
func (r *run) judgePhantoms(ctx context.Context) error {
	r.Progress(Progress{Step: "judge phantoms"})
	var unknown []int32
	for i := range r.ledger.events {
		if r.ledger.events[i].state&hasRow == 0 {
			unknown = append(unknown, int32(i))
		}
	}
	check := &r.ledger.phantom
	err := r.findRows(ctx, unknown, func(e *event, v row) {
		e.state |= hasRow
		if e.sum != r.ledger.sum(r.TopicPrefix+v.aggregateType, v.key, v.kind, v.version) && e.state&alien == 0 {
			e.state |= alien
			check.breach(r.Examples, v.id.String(), "%s/%d@%d has another topic, key, type or version than its row",
				r.ledger.topics[e.topic], e.part, e.offset)
		}
	})
	if err != nil {
		return err
	}
	floor := r.schema.OutboxFloor
	for i := range r.ledger.events {
		switch e := &r.ledger.events[i]; {
		case e.state&alien != 0: // judged
		case e.state&inKafka == 0: // no record
		case e.state&hasRow != 0:
			check.Judged++
		case floor != nil && e.time().Before(*floor):
			check.Expired++
		default:
			check.breach(r.Examples, e.id.String(), "%s/%d@%d has no row", r.ledger.topics[e.topic], e.part, e.offset)
		}
	}
	r.report.add(2, *check)
	r.report.add(4, r.ledger.order)
	return nil
}

// judgeLoss judges the rows of the snapshot.
func (r *run) judgeLoss(ctx context.Context) error {
	r.Progress(Progress{Step: "judge loss"})
	check := Check{Name: "every committed row is in Kafka or parked"}
	var missing []int32
	for i := range int32(r.ledger.rows) {
		switch e := &r.ledger.events[i]; {
		case e.state&inKafka != 0:
			check.Judged++
		case e.state&parked != 0:
			check.Judged++
			check.Parked++
		case !r.passed:
			check.TooYoung++
		default:
			missing = append(missing, i)
		}
	}
	found := make(map[uuid.UUID]row, len(missing))
	if err := r.findRows(ctx, missing, func(e *event, v row) { found[v.id] = v }); err != nil {
		return err
	}
	for _, i := range missing {
		e := &r.ledger.events[i]
		topic := r.ledger.topics[e.topic]
		switch v, ok := found[e.id]; {
		case !ok:
			check.breach(r.Examples, e.id.String(), "is not in %s, and its row has gone since", topic)
		case r.kafka.expired(topic, []byte(v.key), v.at):
			check.Expired++
		default:
			check.breach(r.Examples, e.id.String(), "%s %d of %q, created %s, is not in %s",
				v.kind, v.version, v.key, v.at.UTC().Format("2006-01-02T15:04:05.000Z"), topic)
		}
	}
	r.report.add(1, check)
	if check.TooYoung > 0 && r.report.Invariants[0].Verdict != NotJudged {
		r.incomplete(1, "rows that are not in Kafka (%d): %s", check.TooYoung, r.behind)
	}
	return nil
}

// judgeEffects strikes out what has been claimed; what stays due is lost.
func (r *run) judgeEffects(ctx context.Context) error {
	check := Check{Name: "every record behind a consumer's offset is claimed by it", Counts: Counts{TooYoung: r.ledger.ahead}}
	if !r.schema.Inbox || len(r.Consumers) == 0 {
		r.absent("no inbox is here, or no consumers were given: of 1 the effects are not judged")
		return nil
	}
	for i, consumer := range r.Consumers {
		r.Progress(Progress{Step: "judge effects", Done: int64(i), All: int64(len(r.Consumers))})
		rows, _ := r.Pool.Query(ctx, sql.VerifyInbox, pgx.StrictNamedArgs{"consumer": consumer.Name, "generation": consumer.Generation})
		var id uuid.UUID
		var outcome string
		_, err := pgx.ForEachRow(rows, []any{&id, &outcome}, func() error {
			e := r.ledger.find(id)
			if e == nil || e.due&(1<<i) == 0 {
				return nil
			}
			e.due &^= 1 << i
			check.Judged++
			if outcome == "parked" || outcome == "waiting" {
				check.Parked++
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read inbox of %s: %w", consumer.Name, err)
		}
	}
	for i := range r.ledger.events {
		e := &r.ledger.events[i]
		if e.due == 0 {
			continue
		}
		if floor := r.schema.InboxFloor; floor != nil && e.time().Before(*floor) {
			check.Expired++
			continue
		}
		check.breach(r.Examples, e.id.String(), "%s/%d@%d is behind the offset of %s, which has no claim of it",
			r.ledger.topics[e.topic], e.part, e.offset, consumersOf(r.Consumers, e.due))
	}
	r.report.add(1, check)
	return nil
}
