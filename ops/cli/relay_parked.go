package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/ops/inspect"
)

// parkedRows chooses parked rows and says what becomes of them.
type parkedRows struct {
	database
	kafka
	storage
	output
	Slot   string        `help:"Slot of the relays." default:"gapless"`
	ID     []string      `help:"Only these parked rows." placeholder:"ID"`
	Event  []string      `help:"Only the rows of these events." placeholder:"ID"`
	Topic  string        `help:"Only this topic." placeholder:"NAME"`
	Key    string        `help:"Only this key." placeholder:"KEY"`
	Table  string        `help:"Only this table." placeholder:"SCHEMA.TABLE"`
	Fault  string        `help:"Only what is parked for this." enum:",bad_header,bad_topic,bad_value,too_large,missing_column,unconvertible,refused" default:"" placeholder:"too_large|refused|…"`
	Since  since         `help:"Only what was parked since: a duration back from now (90s, 1h30m, 7d), or a time." placeholder:"TIME"`
	Until  since         `help:"Only what was parked before: likewise." placeholder:"TIME"`
	All    bool          `help:"All parked rows of the slot."`
	Reason string        `help:"Why; it is kept in gapless.audit, or in the topic of the state." placeholder:"TEXT"`
	DryRun bool          `help:"Show what is chosen and do nothing."`
	Wait   time.Duration `help:"How long to wait for the relay; 0 asks and leaves." default:"30s"`
}

type relayRedrive struct{ parkedRows }

func (c *relayRedrive) Run(ctx context.Context, e *env) error { return c.request(ctx, e, "redrive") }

type relayDiscard struct{ parkedRows }

func (c *relayDiscard) Run(ctx context.Context, e *env) error { return c.request(ctx, e, "discard") }

// parkedReport is the answer of redrive and discard.
type parkedReport struct {
	Rows    []inspect.Parked       `json:"rows"`
	Request *int64                 `json:"request,omitempty"` // none of a dry run
	Outcome *inspect.ParkedOutcome `json:"outcome,omitempty"`
}

func (c *parkedRows) request(ctx context.Context, e *env, action string) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	switch {
	case f.IsEmpty() && !c.All:
		return usage("name rows by --id, --event, --topic, --key, --table, --fault, --since or --until, or take --all")
	case !f.IsEmpty() && c.All:
		return usage("--all and a filter contradict each other")
	case c.Reason == "" && !c.DryRun:
		return usage("--reason is missing: say why, it is kept in gapless.audit, or in the topic of the state")
	case c.Wait < 0:
		return usage("--wait is negative")
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	in, err := c.where(ctx, pool, c.kafka, e)
	if err != nil {
		return err
	}
	var asks asksFor = inDatabase{pool}
	if in != nil {
		asks = in
	} else if err := (inDatabase{pool}).knows(ctx, c.Slot); err != nil {
		return err
	}
	report := parkedReport{}
	if report.Rows, err = asks.ParkedRows(ctx, f); err != nil {
		return err
	}
	failure := c.carryOut(ctx, asks, action, f, &report)
	err = c.write(e, report, func(w *tabwriter.Writer) { report.table(w, action) })
	if failure != nil {
		return failure
	}
	return err
}

// knows refuses a slot of which nothing is known, where others are: that no row is chosen
// would look like all being well.
func (d inDatabase) knows(ctx context.Context, slot string) error {
	known, others, err := inspect.ParkedSlots(ctx, d.pool, slot)
	if err != nil || known || len(others) == 0 {
		return err
	}
	return fmt.Errorf("no relay of slot %q keeps its rows in this database, but those of %s do: name one with --slot", slot, strings.Join(others, ", "))
}

func (c *parkedRows) filter() (inspect.ParkedFilter, error) {
	f := inspect.ParkedFilter{Slot: c.Slot, Topic: c.Topic, Key: c.Key, Table: c.Table, Fault: c.Fault}
	for _, id := range c.ID {
		parsed, err := parseID("--id", id)
		if err != nil {
			return f, err
		}
		f.IDs = append(f.IDs, parsed)
	}
	for _, id := range c.Event {
		parsed, err := parseID("--event", id)
		if err != nil {
			return f, err
		}
		f.Events = append(f.Events, parsed)
	}
	if !c.Since.IsZero() {
		f.Since = &c.Since.Time
	}
	if !c.Until.IsZero() {
		f.Until = &c.Until.Time
	}
	return f, nil
}

// asksFor lists parked rows and asks the relay for them, wherever its state is.
type asksFor interface {
	ParkedRows(ctx context.Context, f inspect.ParkedFilter) ([]inspect.Parked, error)
	RequestParked(ctx context.Context, action, reason string, f inspect.ParkedFilter, rows []inspect.Parked) (inspect.Requested, error)
	OutcomeOfParked(ctx context.Context, slot string, request int64) (inspect.ParkedOutcome, error)
}

// inDatabase is a state in schema gapless.
type inDatabase struct{ pool *pgxpool.Pool }

func (d inDatabase) ParkedRows(ctx context.Context, f inspect.ParkedFilter) ([]inspect.Parked, error) {
	return inspect.ParkedRows(ctx, d.pool, f)
}

func (d inDatabase) RequestParked(ctx context.Context, action, reason string, f inspect.ParkedFilter, rows []inspect.Parked) (inspect.Requested, error) {
	ids := make([]uuid.UUID, 0, len(rows))
	for i := range rows {
		ids = append(ids, rows[i].ID)
	}
	return inspect.RequestParked(ctx, d.pool, action, reason, f, ids)
}

func (d inDatabase) OutcomeOfParked(ctx context.Context, _ string, request int64) (inspect.ParkedOutcome, error) {
	return inspect.OutcomeOfParked(ctx, d.pool, request)
}

func (c *parkedRows) carryOut(ctx context.Context, asks asksFor, action string, f inspect.ParkedFilter, report *parkedReport) error {
	if c.DryRun || len(report.Rows) == 0 {
		return nil
	}
	asked, err := asks.RequestParked(ctx, action, c.Reason, f, report.Rows)
	if err != nil {
		return err
	}
	report.Request = &asked.Request
	if c.Wait == 0 {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	for {
		o, err := asks.OutcomeOfParked(ctx, f.Slot, asked.Request)
		if err != nil {
			return err
		}
		report.Outcome = &o
		switch {
		case o.Finished && o.Failed > 0:
			return fmt.Errorf("%s cannot be sent yet (%s): mend that, or take 'gapless relay discard'", terminal.Count(o.Failed, "row"), o.Fault)
		case o.Finished:
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		case <-waiting.Done():
			return fmt.Errorf("request %d stands, but no relay of slot %q has finished it within %s: see 'gapless relay status'", asked.Request, c.Slot, c.Wait)
		}
	}
}

func (r *parkedReport) table(w *tabwriter.Writer, action string) {
	if len(r.Rows) == 0 {
		fmt.Fprintln(w, "no parked row is chosen")
		return
	}
	row(w, "PARKED", "ID", "EVENT", "TABLE", "KEY", "TOPIC", "POSITION", "REASON", "ATTEMPTS", "BEHIND", "ERROR")
	behind, held := int64(0), 0
	for i := range r.Rows {
		p := &r.Rows[i]
		key, event := "none", "none"
		if p.Key != nil {
			key = *p.Key
		}
		if p.EventID != nil {
			event = p.EventID.String()
		}
		row(w, p.ParkedAt, p.ID, event, p.Table, key, p.Topic, p.Position, p.Reason, p.Attempts, p.Behind, p.Error)
		behind += p.Behind
		if p.Ahead {
			held++
		}
	}
	fmt.Fprintf(w, "\n%s, with %d waiting behind them\n", terminal.Count(len(r.Rows), "row"), behind)
	if held > 0 {
		fmt.Fprintf(w, "%d of them stay where they are until an earlier parked row of their key, which is not chosen, is redriven or discarded\n", held)
	}
	switch o := r.Outcome; {
	case r.Request == nil:
		fmt.Fprintf(w, "nothing was done: leave --dry-run out to %s them\n", action)
	case o == nil:
		fmt.Fprintf(w, "request %d: the active relay takes it up within a second\n", *r.Request)
	default:
		fmt.Fprintf(w, "request %d: %d sent, %d discarded, %d parked again, %d still to come\n", *r.Request, o.Sent, o.Discarded, o.Failed, o.LeftOver)
	}
}
