package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/sql"
)

// ReplayConfig is what a Replayer needs; it should be what the relay of Slot has, so that
// the same rows become the same records.
type ReplayConfig struct {
	DatabaseURL   string
	BeforeConnect func(context.Context, *pgx.ConnConfig) error // see Config
	Slot          string                                       // default gapless
	Tables        map[string]format.Format                     // see Config
	Sink          Sink                                         // the Replayer closes it
	Logger        *slog.Logger                                 // default slog.Default

	// Progress is called after each page, from Run's goroutine; nil is skipped.
	Progress func(ReplayState)
}

// ReplayRequest chooses rows that are still in an outbox table, and says how they are
// sent. What is empty takes all.
type ReplayRequest struct {
	Table string `json:"table"` // default gapless.outbox

	From          *time.Time `json:"from,omitempty"` // at or after; by the order's column
	To            *time.Time `json:"to,omitempty"`   // before
	IDs           []string   `json:"ids,omitempty"`  // of events
	AggregateType string     `json:"aggregate_type,omitempty"`
	AggregateID   string     `json:"aggregate_id,omitempty"`
	Types         []string   `json:"types,omitempty"` // of events: column type

	// OrderBy is the column in whose order the rows are sent; default created_at. It must
	// be in the order of commits for each key, as a clock's time taken under the
	// aggregate's lock is, or a sequence drawn under it.
	OrderBy string `json:"order_by,omitempty"`

	// Topic takes all records, in the place of the rows' own topics; they go to the
	// partitions of their keys. Empty: where the relay sends them.
	Topic string `json:"topic,omitempty"`

	// Mark adds the header gapless_replay, with the replay's id, to records in
	// Debezium's form. Those of gapless.outbox always have it, in the place of
	// gapless_position.
	Mark bool `json:"mark,omitempty"`

	Rate int `json:"rate,omitempty"` // records a second; 0 is unlimited

	// Filter is an SQL condition on a row, with the names of its columns. It runs with the
	// rights of the login, in transactions that are read only: whoever may choose it is
	// trusted with those. Empty takes all.
	Filter string `json:"filter,omitempty"`
}

// ReplayState is how far a replay is.
type ReplayState struct {
	ID       uuid.UUID `json:"id"`
	Rows     int64     `json:"rows"`        // chosen when it began; retention may have taken some since
	Sent     int64     `json:"sent"`        // acknowledged
	Held     int64     `json:"held"`        // left out: rows of the key are parked, so they are redrive's
	Failed   int64     `json:"failed"`      // of which no record can be made or sent
	Fault    string    `json:"fault"`       // of the last of those
	Finished bool      `json:"finished"`    // nothing is left
	At       time.Time `json:"at,omitzero"` // the time of the last row of this run, where the order is one
}

// Replayer sends rows of an outbox table again, beside the stream: it takes nothing from
// the relay but the knowledge of what it has passed.
//
// Rows are read page by page, in short transactions, in the order of a column; a page
// counts when all of it is acknowledged. A process that dies in between leaves a replay
// that Run goes on with: of the page under way records are repeated. Where two run the same
// replay, the one that came first stops at its next page.
//
// No row is sent before the relay has sent or parked it: first occurrences stay the
// stream's, where the plan is Vouched. On another history of the database it ends. Rows of
// a key that is blocked by parked rows are left out.
type Replayer struct {
	cfg      ReplayConfig
	store    *store
	patience time.Duration // with a statement that has a filter

	signalled bool // it is the relay's, and runs what signals ask for
}

// NewReplayer checks cfg. Connections to the database are made in the background.
func NewReplayer(ctx context.Context, cfg ReplayConfig) (*Replayer, error) {
	c := Config{DatabaseURL: cfg.DatabaseURL, BeforeConnect: cfg.BeforeConnect, Slot: cfg.Slot, Tables: cfg.Tables, Sink: cfg.Sink, Logger: cfg.Logger}.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("replayer: %w", err)
	}
	cfg.Slot, cfg.Logger = c.Slot, c.Logger
	s, err := openStore(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Replayer{cfg: cfg, store: s, patience: filterTime}, nil
}

// Close closes the connections and the sink.
func (r *Replayer) Close(ctx context.Context) error {
	r.store.close()
	return r.cfg.Sink.Close(ctx)
}

// ReplayPlan is what a request chooses now.
type ReplayPlan struct {
	Request ReplayRequest `json:"request"`
	Rows    int64         `json:"rows"`
	First   *time.Time    `json:"first,omitempty"` // nil where the order is not a time, or nothing is chosen
	Last    *time.Time    `json:"last,omitempty"`

	// Vouched tells that each of the rows is known to have been sent. It is false for a table
	// of one's own without retention: of rows that are older than the slot, or were written
	// while the publication did not have the table, nothing tells. They are chosen too, and
	// come for the first time.
	Vouched bool `json:"vouched"`

	snapshot string
}

// ErrReplayInput is wrapped by errors about a request that cannot be carried out as it is.
var ErrReplayInput = errors.New("request")

// Plan counts what the request chooses: rows that the relay is known to have passed. When
// that is running, up to this moment; else up to its newest proof.
func (r *Replayer) Plan(ctx context.Context, q ReplayRequest) (ReplayPlan, error) {
	if q.Table == "" {
		q.Table = "gapless.outbox"
	}
	p := ReplayPlan{Request: q}
	if err := r.hasSchema(ctx); err != nil {
		return p, err
	}
	t, err := r.open(ctx, q)
	if err != nil {
		return p, err
	}
	if p.snapshot, err = r.passed(ctx); err != nil {
		return p, err
	}
	if err := r.refuseOthers(ctx, t); err != nil {
		return p, err
	}
	p.Vouched = t.native || t.since != ""
	err = t.count(ctx, r.store.pool, &p)
	return p, err
}

// hasSchema refuses a database where a replay could not be noted.
func (r *Replayer) hasSchema(ctx context.Context) error {
	found, err := collect[placement](ctx, r.store, sql.RelayPlace)
	if err == nil && !found.Made {
		err = fmt.Errorf("%w: a replay is noted in schema gapless, which this database does not have: to send rows again, write them again", ErrReplayInput)
	}
	return err
}

// passWait is how long the relay may take to pass the present moment: it hears of the
// log's end when the server has nothing to send, looks once a second whether somebody
// waits, and stores four times a second.
const passWait = 5 * time.Second

// passed returns a snapshot of which every row is sent or parked.
func (r *Replayer) passed(ctx context.Context) (string, error) {
	var snapshot, lsn string
	if err := r.store.pool.QueryRow(ctx, sql.RelayProof).Scan(&snapshot, &lsn); err != nil {
		return "", fmt.Errorf("take snapshot: %w", err)
	}
	// What is not flushed is not sent.
	if err := r.store.flush(ctx); err != nil {
		return "", err
	}
	tx, err := r.await(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	for began := time.Now(); ; {
		var active, passed, proven bool
		err := tx.QueryRow(ctx, sql.RelayReplayPassed, r.cfg.Slot, lsn).Scan(&active, &passed, &proven)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return "", fmt.Errorf("%w: slot %q and a relay's record of it are not both in this database: name the relay's with --slot", ErrReplayInput, r.cfg.Slot)
		case err != nil:
			return "", fmt.Errorf("read the relay's position: %w", err)
		case passed && proven:
			return snapshot, nil
		}
		if !active || time.Since(began) > passWait {
			break
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return "", ctx.Err()
		}
	}
	var proven *string
	if err := r.store.pool.QueryRow(ctx, sql.RelayReplayProven, r.cfg.Slot).Scan(&proven); err != nil {
		return "", fmt.Errorf("read proof: %w", err)
	}
	if proven == nil {
		return "", fmt.Errorf("%w: nothing is proven of what the relay of slot %q has sent: start it, and try again when it has caught up", ErrReplayInput, r.cfg.Slot)
	}
	return *proven, nil
}

// await has the relay write its record until the transaction ends.
func (r *Replayer) await(ctx context.Context) (pgx.Tx, error) {
	tx, err := r.store.pool.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the relay's position: %w", err)
	}
	if _, err := tx.Exec(ctx, sql.RelayAwait, r.cfg.Slot); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("ask for the relay's position: %w", err)
	}
	return tx, nil
}

// refuseOthers wants the relay of the slot to be one that relays the table: what another
// one has passed tells nothing of it.
func (r *Replayer) refuseOthers(ctx context.Context, t *replayTable) error {
	rows, err := r.store.pool.Query(ctx, sql.RelayReplaySlots, t.oid)
	if err != nil {
		return fmt.Errorf("look for the table's relays: %w", err)
	}
	slots, err := pgx.CollectRows(rows, pgx.RowTo[string])
	switch {
	case err != nil:
		return fmt.Errorf("look for the table's relays: %w", err)
	case slices.Contains(slots, r.cfg.Slot):
		return nil
	case len(slots) == 0:
		return fmt.Errorf("%w: no relay with a record in this database is known to relay table %s: one that was added to a publication is, with the next row", ErrReplayInput, t.name)
	}
	return fmt.Errorf("%w: the relay of slot %q does not relay table %s: name one that does with --slot: %s", ErrReplayInput, r.cfg.Slot, t.name, strings.Join(slots, ", "))
}

// Start notes the replay, with an audit row. Run carries it out.
func (r *Replayer) Start(ctx context.Context, p ReplayPlan, reason string) (uuid.UUID, error) {
	request, err := json.Marshal(p.Request)
	if err != nil {
		return uuid.Nil, fmt.Errorf("start replay: %w", err)
	}
	var id uuid.UUID
	err = r.store.pool.QueryRow(ctx, sql.RelayReplayCreate, r.cfg.Slot, p.snapshot, request, p.Rows, p.First, p.Last, reason).Scan(&id)
	if err != nil {
		return uuid.Nil, fmt.Errorf("start replay: %w", err)
	}
	return id, nil
}

// ErrReplayTaken says that another process goes on with the replay.
var ErrReplayTaken = errors.New("another process has taken the replay over")

// ErrReplayStopped says that a signal has stopped the replay.
var ErrReplayStopped = errors.New("a signal has stopped the replay")

// replay is one that runs.
type replay struct {
	*Replayer
	id       uuid.UUID
	request  ReplayRequest
	table    *replayTable
	snapshot string
	runs     int64 // fences who ran it before
	window   window
	place    []string // of the last row that is settled
	state    ReplayState
	paused   bool // by a signal
	limiter  *rate.Limiter
}

// Run sends what is left of the replay, and returns when all of it is acknowledged, or ctx
// has ended. A sink that cannot go on is tried again, without end; a topic that is missing
// or may not be written to ends the run. What is settled stays so: Run may be called again.
func (r *Replayer) Run(ctx context.Context, id uuid.UUID) (ReplayState, error) {
	p, err := r.take(ctx, id)
	if err != nil || p.state.Finished {
		return p.state, err
	}
	for !p.state.Finished {
		if err := p.step(ctx); err != nil {
			return p.state, err
		}
		if r.cfg.Progress != nil {
			r.cfg.Progress(p.state)
		}
	}
	return p.state, nil
}

func (r *Replayer) take(ctx context.Context, id uuid.UUID) (*replay, error) {
	p := &replay{Replayer: r, id: id, state: ReplayState{ID: id}}
	if err := r.hasSchema(ctx); err != nil {
		return p, err
	}
	var request []byte
	var first, last *time.Time
	var same, planned bool
	err := r.store.pool.QueryRow(ctx, sql.RelayReplayTake, id, r.cfg.Slot).Scan(&p.runs, &p.snapshot, &request, &p.state.Rows, &first, &last,
		&p.state.Sent, &p.state.Held, &p.state.Failed, &p.place, &p.state.Finished, &planned, &p.paused, &same)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return p, fmt.Errorf("%w: slot %q has no replay %s: 'gapless relay replays' lists them", ErrReplayInput, r.cfg.Slot, id)
	case err != nil:
		return p, fmt.Errorf("take replay: %w", err)
	case !same:
		return p, p.otherHistory()
	}
	if err := json.Unmarshal(request, &p.request); err != nil {
		return p, fmt.Errorf("read replay: %w", err)
	}
	switch {
	case p.state.Finished:
		return p, nil
	case !planned && !r.signalled:
		return p, fmt.Errorf("%w: replay %s was asked for by a signal, and its rows are not counted yet: the relay that has the slot does that", ErrReplayInput, id)
	case !planned:
		if first, last, err = p.plan(ctx); err != nil {
			return p, err
		}
	}
	if p.table, err = r.open(ctx, p.request); err != nil {
		return p, err
	}
	p.limiter = rate.NewLimiter(rate.Inf, 0)
	if p.request.Rate > 0 {
		p.limiter = rate.NewLimiter(rate.Limit(p.request.Rate), max(1, p.request.Rate/20))
	}
	p.window = newWindow(first, last)
	return p, p.window.resume(p.place)
}

// otherHistory: there, ids of transactions mean others, and the snapshot says nothing.
func (p *replay) otherHistory() error {
	return fmt.Errorf("%w: replay %s is of another history of the database (a failover, a restore): start a new one with --from", ErrReplayInput, p.id)
}

// querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, statement string, args ...any) pgx.Row
}

// sameHistory is asked on the connection that a page is read on.
func (p *replay) sameHistory(ctx context.Context, db querier) error {
	var same bool
	err := db.QueryRow(ctx, sql.RelayReplayHistory, p.id).Scan(&same)
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && !same:
		return p.otherHistory()
	case err != nil:
		return fmt.Errorf("read the replay's history: %w", err)
	}
	return nil
}

// step reads a page, sends it, and stores that it is settled.
func (p *replay) step(ctx context.Context) error {
	page, err := p.read(ctx)
	if err != nil {
		return err
	}
	if err := p.deliver(ctx, page); err != nil {
		return err
	}
	sent, held, failed := page.tally()
	p.state.Sent += sent
	p.state.Held += held
	p.state.Failed += failed
	if page.fault != nil {
		p.state.Fault = page.fault.Error()
	}
	if page.place != nil {
		p.place = page.place
	}
	if p.window.timed && len(page.rows) > 0 {
		p.state.At = page.at
	}
	p.state.Finished = p.window.next(page)
	crashpoint.Hit("relay.after_page")
	var stopped bool
	err = p.store.pool.QueryRow(ctx, sql.RelayReplayStore, p.id, p.runs, p.place, p.state.Sent, p.state.Held, p.state.Failed, p.state.Fault, p.state.Finished).
		Scan(&p.paused, &stopped)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		if err := p.sameHistory(ctx, p.store.pool); err != nil {
			return err
		}
		return fmt.Errorf("replay %s: %w", p.id, ErrReplayTaken)
	case err != nil:
		return fmt.Errorf("store how far the replay is: %w", err)
	case stopped && !p.state.Finished:
		return fmt.Errorf("replay %s: %w", p.id, ErrReplayStopped)
	}
	return nil
}

// deliver sends the page until each row of it is settled.
func (p *replay) deliver(ctx context.Context, page *replayPage) error {
	for tries := 0; ; tries++ {
		err := p.send(ctx, page)
		if err == nil {
			return nil
		}
		if held, ok := errors.AsType[*HeldError](err); ok {
			if err := p.cfg.Sink.Reset(ctx); err != nil { // for the next Run, which may find the topic
				return err
			}
			return fmt.Errorf("replay %s stops: %w", p.id, held)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.cfg.Logger.WarnContext(ctx, "replay: sending a page again", "replay", p.id, "error", err)
		if err := p.cfg.Sink.Reset(ctx); err != nil {
			return err
		}
		if _, ok := errors.AsType[*format.Fault](err); ok {
			tries = -1 // the row is known now, and is not sent again
		} else if !sleep(ctx, backoff(tries, replayPause)) {
			return ctx.Err()
		}
	}
}

// replayPause is the longest pause between tries to send a page.
const replayPause = 10 * time.Second

// send hands the page's records over and waits for all their answers. One that ends it
// is a failure of the sink, and so is the refusal of a record that was out: what is behind
// it waits for Reset.
func (p *replay) send(ctx context.Context, page *replayPage) error {
	type answer struct {
		row *replayRow
		err error
	}
	answers := make(chan answer, len(page.rows))
	open := 0
	for i := range page.rows {
		row := &page.rows[i]
		if row.settled() {
			continue
		}
		if row.fault = (Config{}).stateTopic(row.record.Topic); row.fault != nil {
			continue
		}
		if err := p.limiter.Wait(ctx); err != nil {
			return err
		}
		err := p.cfg.Sink.Send(&row.record, func(_ *format.Record, err error) { answers <- answer{row, err} })
		switch {
		case err == nil:
			open++
		case !errors.As(err, &row.fault):
			return err
		}
	}
	for range open {
		select {
		case a := <-answers:
			if a.err != nil {
				errors.As(a.err, &a.row.fault)
				return a.err
			}
			a.row.sent = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
