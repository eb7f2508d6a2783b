package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/ops/inspect"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

type relayReplay struct {
	database
	kafka
	output
	Slot  string `help:"Slot of the relay whose records these are." default:"gapless"`
	Table string `help:"Outbox table." default:"gapless.outbox" placeholder:"SCHEMA.TABLE"`

	From      since    `help:"Only rows since: a duration back from now (90s, 1h30m, 7d), or a time." placeholder:"TIME"`
	To        since    `help:"Only rows before: likewise." placeholder:"TIME"`
	Aggregate string   `help:"Only this aggregate type, or this aggregate." placeholder:"TYPE[/ID]"`
	Type      []string `help:"Only events of these types." placeholder:"NAME"`
	ID        []string `help:"Only these events." placeholder:"ID"`
	All       bool     `help:"All rows of the table."`

	OrderBy string `help:"Column that has the order of commits for each key; created_at where there is one." placeholder:"COLUMN"`
	Topic   string `help:"Send to this topic instead of the rows' own." placeholder:"NAME"`
	Mark    bool   `name:"mark-replays" help:"Put the header gapless_replay on records in Debezium's form, too."`
	Rate    int    `help:"Records a second; 0 is as fast as it goes." default:"1000"`

	Reason string `help:"Why; it is kept in gapless.audit." placeholder:"TEXT"`
	DryRun bool   `help:"Say what would be sent, and send nothing; the default, so that it is looked at." default:"true" negatable:""`
	Resume string `help:"Go on with this replay, which sends." placeholder:"ID"`
}

// replayReport is the answer of a replay; of a dry run it has the plan alone.
type replayReport struct {
	Plan  *relay.ReplayPlan  `json:"plan,omitempty"`
	State *relay.ReplayState `json:"state,omitempty"`
}

func (c *relayReplay) Run(ctx context.Context, e *env) error {
	request, resume, err := c.request()
	if err != nil {
		return err
	}
	replayer, err := c.replayer(ctx, e)
	if err != nil {
		return err
	}
	defer func() { _ = replayer.Close(context.WithoutCancel(ctx)) }()
	report := replayReport{}
	id := resume
	if id == uuid.Nil {
		plan, err := replayer.Plan(ctx, request)
		if err != nil {
			return replayFailed(err)
		}
		report.Plan = &plan
		if c.DryRun || plan.Rows == 0 {
			return c.write(e, report, report.table)
		}
		if id, err = replayer.Start(ctx, plan, c.Reason); err != nil {
			return err
		}
	}
	state, err := replayer.Run(ctx, id)
	if isTerminal(e.stderr) {
		fmt.Fprint(e.stderr, "\r\033[K")
	}
	if err != nil {
		if errors.Is(err, relay.ErrReplayInput) || errors.Is(err, relay.ErrReplayTaken) || errors.Is(err, relay.ErrReplayStopped) {
			return replayFailed(err)
		}
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return &awayError{fmt.Errorf("replay %s, %d of %d rows sent: %w", id, state.Sent, state.Rows, err), "go on with the same command, the choice of rows replaced by '--resume " + id.String() + "'"}
	}
	report.State = &state
	if err := c.write(e, report, report.table); err != nil {
		return err
	}
	if state.Failed > 0 {
		return fmt.Errorf("replay %s: %s could not be sent, the last for %s", id, terminal.Count(state.Failed, "row"), state.Fault)
	}
	return nil
}

func replayFailed(err error) error {
	if errors.Is(err, relay.ErrReplayInput) {
		return usageError{err}
	}
	return err
}

// request checks what can be checked without the database.
func (c *relayReplay) request() (q relay.ReplayRequest, resume uuid.UUID, err error) {
	q = relay.ReplayRequest{Table: c.Table, IDs: c.ID, Types: c.Type, OrderBy: c.OrderBy, Topic: c.Topic, Mark: c.Mark, Rate: c.Rate}
	q.AggregateType, q.AggregateID, _ = strings.Cut(c.Aggregate, "/")
	if !c.From.IsZero() {
		q.From = &c.From.Time
	}
	if !c.To.IsZero() {
		q.To = &c.To.Time
	}
	filtered := len(c.ID) > 0 || len(c.Type) > 0 || c.Aggregate != "" || q.From != nil || q.To != nil
	if resume, err = parseID("--resume", c.Resume); err != nil {
		return q, resume, err
	}
	switch {
	case resume != uuid.Nil && (filtered || c.All):
		return q, resume, usage("--resume goes on with what was chosen then: leave the other choices out")
	case resume != uuid.Nil:
	case !filtered && !c.All:
		return q, resume, usage("choose rows by --from, --to, --aggregate, --type or --id, or take --all")
	case filtered && c.All:
		return q, resume, usage("--all and a filter contradict each other")
	case c.Reason == "" && !c.DryRun:
		return q, resume, usage("--reason is missing: say why, it is kept in gapless.audit")
	case c.Rate < 0:
		return q, resume, usage("--rate is negative")
	case q.From != nil && q.To != nil && !q.From.Before(*q.To):
		return q, resume, usage("--from is not before --to")
	}
	return q, resume, nil
}

func (c *relayReplay) replayer(ctx context.Context, e *env) (*relay.Replayer, error) {
	url, err := c.url()
	if err != nil {
		return nil, err
	}
	file, err := e.relay()
	if err != nil {
		return nil, err
	}
	tables, err := file.tables()
	if err != nil {
		return nil, err
	}
	sink := relay.Sink(unsent{})
	if !c.DryRun || c.Resume != "" {
		cluster, err := c.cluster()
		if err != nil {
			return nil, err
		}
		if sink, err = cluster.sink(e.log); err != nil {
			return nil, err
		}
	}
	replayer, err := relay.NewReplayer(ctx, relay.ReplayConfig{
		DatabaseURL: url, BeforeConnect: pgconnect.Fresh(c.url), Slot: c.Slot, Tables: tables, Sink: sink, Logger: e.log, Progress: progressOf(e),
	})
	if err != nil {
		return nil, usageError{err}
	}
	return replayer, nil
}

// unsent is the sink of a dry run, which needs no broker.
type unsent struct{}

func (unsent) Send(*format.Record, func(*format.Record, error)) error {
	return errors.New("a dry run sends nothing")
}
func (unsent) Reset(context.Context) error { return nil }
func (unsent) Close(context.Context) error { return nil }

// progressOf shows a bar to a person, and a line every ten seconds to a log.
func progressOf(e *env) func(relay.ReplayState) {
	const every = 10 * time.Second
	began, first, last := time.Now(), int64(-1), time.Now()
	return func(s relay.ReplayState) {
		done := s.Sent + s.Held + s.Failed
		if first < 0 {
			first = done
			began = time.Now()
		}
		if !isTerminal(e.stderr) {
			if time.Since(last) >= every {
				last = time.Now()
				e.log.Info("replaying", "replay", s.ID, "done", done, "of", s.Rows)
			}
			return
		}
		fmt.Fprint(e.stderr, "\r\033[K", progressBar(done, s.Rows, float64(done-first)/time.Since(began).Seconds()))
	}
}

const barWidth = 30

// progressBar is one line: how much, how fast, and how much longer.
func progressBar(done, total int64, perSecond float64) string {
	share := 1.0
	if total > 0 {
		share = min(1, float64(done)/float64(total))
	}
	full := int(share * barWidth)
	text := fmt.Sprintf("[%s%s] %3.0f %%  %d of %d", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), share*100, done, total)
	if perSecond > 0 && done < total {
		left := time.Duration(float64(total-done) / perSecond * float64(time.Second)).Round(time.Second)
		text += fmt.Sprintf("  %.0f/s  %s left", perSecond, left)
	}
	return text
}

func (r *replayReport) table(w *tabwriter.Writer) {
	if p := r.Plan; p != nil && r.State == nil {
		r.planned(w)
		return
	}
	s := r.State
	fmt.Fprintf(w, "replay %s: %s sent", s.ID, terminal.Count(s.Sent, "row"))
	if s.Held > 0 {
		fmt.Fprintf(w, ", %d left out whose key has parked rows (see 'gapless relay redrive')", s.Held)
	}
	if gone := s.Rows - s.Sent - s.Held - s.Failed; gone > 0 {
		fmt.Fprintf(w, ", %d gone since it began (retention)", gone)
	}
	fmt.Fprintln(w)
}

func (r *replayReport) planned(w io.Writer) {
	p := r.Plan
	switch {
	case p.Rows == 0:
		fmt.Fprintf(w, "no row of %s is chosen; what the relay has not sent yet is not\n", p.Request.Table)
		return
	case p.First != nil:
		fmt.Fprintf(w, "%s of %s, from %s to %s\n", terminal.Count(p.Rows, "row"), p.Request.Table, stamp(*p.First), stamp(*p.Last))
	default:
		fmt.Fprintf(w, "%s of %s\n", terminal.Count(p.Rows, "row"), p.Request.Table)
	}
	if !p.Vouched {
		fmt.Fprintln(w, "nothing tells whether rows that are older than the slot, or than the table's place in the publication, were sent before: leave them out with --from")
	}
	if p.Request.Topic != "" {
		fmt.Fprintf(w, "to topic %s\n", p.Request.Topic)
	} else {
		fmt.Fprintln(w, "to the topics of the relay")
	}
	if p.Request.Rate > 0 {
		fmt.Fprintf(w, "%s at %d a second\n", (time.Duration(p.Rows) * time.Second / time.Duration(p.Request.Rate)).Round(time.Second), p.Request.Rate)
	}
	fmt.Fprintln(w, "nothing was sent: add --no-dry-run and --reason to send them")
}

type relayReplays struct {
	database
	output
	Slot  string `help:"Only this slot." placeholder:"NAME"`
	Limit int    `help:"How many." default:"20"`
}

// Run lists replays, the newest first.
func (c *relayReplays) Run(ctx context.Context, e *env) error {
	if c.Limit < 1 {
		return errLimit
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	list, err := inspect.Replays(ctx, pool, c.Slot, c.Limit)
	if err != nil {
		return err
	}
	return c.write(e, list, func(w *tabwriter.Writer) {
		row(w, "STARTED", "ID", "SLOT", "ROWS", "SENT", "HELD", "FAILED", "FINISHED", "ACTOR", "REASON", "REQUEST", "ERROR")
		for i := range list {
			r := &list[i]
			finished := "no"
			if r.Paused {
				finished = "paused"
			}
			if r.FinishedAt != nil {
				finished = stamp(*r.FinishedAt)
			}
			row(w, r.StartedAt, r.ID, r.Slot, r.Rows, r.Sent, r.Held, r.Failed, finished, r.Actor, r.Reason, string(r.Request), r.Error)
		}
	})
}
