package verify

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// tableCheck is a check that one statement makes. It returns one row: the
// counts, and ids and details of the first breaches.
type tableCheck struct {
	number    int
	name      string
	statement string
	args      []string // besides examples
	consumer  string   // whose generation it needs; not judged without
	needs     func(schema) bool
}

func inbox(s schema) bool        { return s.Inbox }
func orders(s schema) bool       { return s.Orders && s.Inbox }
func participants(s schema) bool { return s.Participants && s.Orders && s.Inbox }

func outboxOnly(schema) bool { return true }

var tableChecks = []tableCheck{
	{number: 1, name: "every message put aside is kept", statement: sql.VerifyParkedClaims, needs: inbox},
	{number: 3, name: "no event has caused the same twice", statement: sql.VerifyEffectRepeated, needs: outboxOnly},
	{number: 3, name: "every effect is there once, under a claim", statement: sql.VerifyEffectClaimed, args: []string{"inbox_floor"}, needs: participants},
	{number: 5, name: "stock is what there was and what moved", statement: sql.VerifyStock, needs: participants},
	{number: 5, name: "what moved is what is reserved", statement: sql.VerifyReservations, needs: participants},
	{number: 5, name: "charges equal payments", statement: sql.VerifyCharges, args: []string{"young"}, needs: participants},
	{number: 5, name: "money held is what is due", statement: sql.VerifyPayments, args: []string{"young"}, needs: participants},
	{number: 6, name: "every saga is over, waits visibly or has time", statement: sql.VerifySagas, args: []string{"young"}, needs: orders},
	{number: 6, name: "every order has its saga", statement: sql.VerifyOrders, args: []string{"outbox_floor"}, needs: orders},
	{number: 7, name: "sales by hour", statement: sql.VerifySales, args: []string{"consumer", "generation", "outbox_floor"}, consumer: "analytics", needs: participants},
	{number: 7, name: "loyalty points", statement: sql.VerifyPoints, args: []string{"consumer", "generation", "outbox_floor"}, consumer: "loyalty", needs: participants},
	{number: 7, name: "notifications", statement: sql.VerifyMessages, args: []string{"consumer", "generation"}, consumer: "notification", needs: participants},
}

// judgeTables runs every check on one snapshot.
func (r *run) judgeTables(ctx context.Context) error {
	if !participants(r.schema) {
		r.absent("this database does not hold the whole order pipeline: 5, 6 and 7 are judged as far as their tables are here")
	}
	return r.snapshot(ctx, func(tx pgx.Tx) error {
		for i, c := range tableChecks {
			if !c.needs(r.schema) || c.consumer != "" && r.generation(c.consumer) == 0 {
				continue
			}
			r.Progress(Progress{Step: "judge tables", Done: int64(i), All: int64(len(tableChecks))})
			check, err := r.judgeTable(ctx, tx, c)
			if err != nil {
				return err
			}
			r.report.add(c.number, check)
		}
		return nil
	})
}

func (r *run) judgeTable(ctx context.Context, tx pgx.Tx, c tableCheck) (Check, error) {
	known := map[string]any{
		"young":        r.Young.Seconds(),
		"consumer":     c.consumer,
		"generation":   r.generation(c.consumer),
		"outbox_floor": r.schema.OutboxFloor,
		"inbox_floor":  r.schema.InboxFloor,
	}
	args := pgx.StrictNamedArgs{"examples": r.Examples}
	for _, name := range c.args {
		args[name] = known[name]
	}
	check := Check{Name: c.name}
	var ids, details []string
	err := tx.QueryRow(ctx, c.statement, args).Scan(&check.Judged, &check.TooYoung, &check.Parked, &check.Expired, &check.Broken, &ids, &details)
	if err != nil {
		return check, fmt.Errorf("check that %s: %w", c.name, err)
	}
	for i, id := range ids {
		check.Examples = append(check.Examples, Example{ID: id, Detail: details[i]})
	}
	return check, nil
}
