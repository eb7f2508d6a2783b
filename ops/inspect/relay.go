package inspect

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/terminal"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/sql"
)

// Relay is where one relay stands, as the database sees it.
type Relay struct {
	Slot  string `json:"slot" db:"slot"`
	State string `json:"state" db:"-"`
	// Advice is what to do about State; empty when nothing is. SQL are its
	// statements, those that the relay itself would print.
	Advice string   `json:"advice,omitempty" db:"-"`
	SQL    []string `json:"sql,omitempty" db:"-"`

	Active            bool       `json:"active" db:"active"`
	ActivePID         *int32     `json:"active_pid,omitempty" db:"active_pid"`
	WALStatus         string     `json:"wal_status" db:"wal_status"`
	Timeline          *int32     `json:"timeline,omitempty" db:"timeline"`
	ResumeLSN         *string    `json:"resume_lsn,omitempty" db:"resume_lsn"`
	ConfirmedFlushLSN *string    `json:"confirmed_flush_lsn,omitempty" db:"confirmed_flush_lsn"`
	RestartLSN        *string    `json:"restart_lsn,omitempty" db:"restart_lsn"`
	RetainedBytes     *int64     `json:"retained_bytes,omitempty" db:"retained_bytes"`       // WAL kept for the slot
	UnconfirmedBytes  *int64     `json:"unconfirmed_bytes,omitempty" db:"unconfirmed_bytes"` // WAL the slot has not confirmed
	UnrelayedBytes    *int64     `json:"unrelayed_bytes,omitempty" db:"unrelayed_bytes"`     // WAL behind the stored position
	SafeWALSize       *int64     `json:"safe_wal_size,omitempty" db:"safe_wal_size"`         // until the slot is lost; absent without a limit
	UnrelayedEvents   int64      `json:"unrelayed_events" db:"unrelayed_events"`             // rows of gapless.outbox newer than the newest relayed one; 100001 stands for more; 0 for a relay of other tables alone
	LagSeconds        float64    `json:"lag_seconds" db:"lag_seconds"`                       // since the oldest event that is not relayed; of tables of one's own told from 5 on
	Events            int64      `json:"events" db:"events"`
	RelayID           string     `json:"relay_id,omitempty" db:"relay_id"`
	LastCommitAt      *time.Time `json:"last_commit_at,omitempty" db:"last_commit_at"`
	UpdatedAt         *time.Time `json:"updated_at,omitempty" db:"updated_at"`
	Parked            int64      `json:"parked" db:"parked"`
	Waiting           int64      `json:"waiting" db:"waiting"` // behind parked ones, on their keys
	Paused            bool       `json:"paused" db:"paused"`
	PausedBy          string     `json:"paused_by,omitempty" db:"paused_by"`

	// WaitsFor is what the relay says that it waits for; empty when it does not, or does
	// not run.
	WaitsFor   string     `json:"waits_for,omitempty" db:"-"`
	Held       int64      `json:"held" db:"held"` // rows that wait for the topics
	HeldTopics []string   `json:"held_topics" db:"held_topics"`
	Runs       bool       `json:"runs" db:"runs"` // a relay of the slot is connected
	ToldState  string     `json:"-" db:"told_state"`
	ToldReason string     `json:"-" db:"told_reason"`
	ToldAt     *time.Time `json:"-" db:"told_at"`

	// WALRate is how fast the server writes WAL, in bytes a second, and FullIn after how
	// many seconds at this rate the slot is beyond max_slot_wal_keep_size, if the relay
	// lets go of nothing meanwhile. Both are absent after one look; FullIn also without a
	// limit, or when nothing is written.
	WALRate *float64 `json:"wal_bytes_per_second,omitempty" db:"-"`
	FullIn  *float64 `json:"full_in_seconds,omitempty" db:"-"`

	// StateTopic is the topic with the relay's state; empty where that is in the database.
	// Then UnrelayedEvents are not known, and 0.
	StateTopic string `json:"state_topic,omitempty" db:"-"`

	RelaysOutbox bool `json:"-" db:"relays_outbox"` // gapless.outbox is among its tables

	WALBytes int64   `json:"-" db:"wal_bytes"`
	LookedAt float64 `json:"-" db:"looked_at"`
}

// Relays lists the relays of this database: slots of pgoutput, and stored
// progress, also without the other. An empty slot takes all.
func Relays(ctx context.Context, db DB, slot string) ([]Relay, error) {
	relays, err := list[Relay](ctx, db, "relays", sql.OpsRelays, pgx.StrictNamedArgs{"slot": slot})
	for i := range relays {
		relays[i].finish()
	}
	return relays, err
}

// finish adds what follows from the rest.
func (r *Relay) finish() {
	if !r.Runs { // what it told is of long ago
		r.ToldState, r.ToldReason, r.Held, r.HeldTopics = "", "", 0, []string{}
	}
	if r.ToldState != string(relay.Paused) { // PausedBy says it
		r.WaitsFor = r.ToldReason
	}
	r.State, r.Advice, r.SQL = r.judge()
	if r.StateTopic != "" && len(r.SQL) > 0 {
		// The statements are those of a record in the database.
		r.Advice, r.SQL = "start 'gapless relay': it stops too, and says what to do", nil
	}
}

// MeasuredRelays takes two looks, some time apart, and tells besides how fast WAL grows.
// Without a time between it is Relays.
func MeasuredRelays(ctx context.Context, db DB, slot string, between time.Duration) ([]Relay, error) {
	return measured(ctx, between, func() ([]Relay, error) { return Relays(ctx, db, slot) })
}

func measured(ctx context.Context, between time.Duration, look func() ([]Relay, error)) ([]Relay, error) {
	first, err := look()
	if err != nil || len(first) == 0 || between <= 0 {
		return first, err
	}
	select {
	case <-time.After(between):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	relays, err := look()
	for i := range relays {
		relays[i].measure(first[0].WALBytes, first[0].LookedAt)
	}
	return relays, err
}

// measure compares with an earlier look.
func (r *Relay) measure(walBytes int64, at float64) {
	if r.LookedAt <= at {
		return
	}
	rate := float64(r.WALBytes-walBytes) / (r.LookedAt - at)
	r.WALRate = &rate
	if r.SafeWALSize != nil && rate > 0 {
		full := float64(max(*r.SafeWALSize, 0)) / rate
		r.FullIn = &full
	}
}

// lateSeconds is how old the oldest event that was not relayed may be.
const lateSeconds = 30

// judge names the state: the worst thing first.
func (r *Relay) judge() (state, advice string, statements []string) {
	switch {
	case r.WALStatus == "missing":
		return refused("no slot", relay.SlotMissing(r.Slot))
	case r.WALStatus == "lost":
		return refused("lost", relay.SlotLost(r.Slot))
	case !r.Active && r.Runs && r.ToldReason != "":
		return "waiting", "a relay runs, and has not got as far as streaming", nil
	case !r.Active && r.ResumeLSN == nil:
		return "never run", "start 'gapless relay'", nil
	case !r.Active:
		return "stopped", "start 'gapless relay': WAL is kept until it runs", nil
	case r.Paused:
		return "paused", "by " + r.PausedBy + "; 'gapless relay resume' lets it go on. WAL is kept meanwhile", nil
	case r.WALStatus == "unreserved":
		return "nearly lost", "the slot is beyond max_slot_wal_keep_size: let the relay catch up now, or raise it", nil
	case r.ToldState == string(relay.Holding):
		return "holding", "the sink does not acknowledge: nothing is lost, WAL is kept until it does", nil
	case r.Held > 0:
		return "streaming, with rows held", "make the topics, or grant the right to write to them: the rows follow by themselves", nil
	case r.LagSeconds > lateSeconds:
		return "behind", "if that does not shrink, look into the relay's log and /status of its --ops-listen", nil
	case r.Parked > 0:
		return "streaming, with parked rows", "look at gapless.parked: their keys wait", nil
	default:
		return "streaming", "", nil
	}
}

// refused is a state in which a relay that is started refuses to go on.
func refused(state string, r *relay.Refusal) (_, advice string, statements []string) {
	for _, statement := range r.SQL {
		statements = append(statements, statement+";")
	}
	return state, r.Remedy, statements
}

// WriteRelays writes relays for people to read.
func WriteRelays(w io.Writer, relays []Relay) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range relays {
		r := &relays[i]
		if i > 0 {
			fmt.Fprintln(t)
		}
		fmt.Fprintf(t, "slot\t%s\n", terminal.Line(r.Slot))
		fmt.Fprintf(t, "state\t%s\n", r.State)
		if r.Advice != "" {
			fmt.Fprintf(t, "advice\t%s\n", terminal.Line(r.Advice))
		}
		for _, statement := range r.SQL {
			fmt.Fprintf(t, "\t%s\n", terminal.Line(statement))
		}
		if r.RelayID != "" {
			fmt.Fprintf(t, "relay\t%s\n", terminal.Line(r.RelayID))
		}
		if r.WaitsFor != "" {
			fmt.Fprintf(t, "waits for\t%s\n", terminal.Line(r.WaitsFor))
		}
		if r.Held > 0 {
			fmt.Fprintf(t, "held\t%s, for %s\n", terminal.Count(r.Held, "row"), terminal.Line(strings.Join(r.HeldTopics, ", ")))
		}
		fmt.Fprintf(t, "last relayed at\t%s\n", or(r.ResumeLSN))
		fmt.Fprintf(t, "confirmed up to\t%s\n", or(r.ConfirmedFlushLSN))
		fmt.Fprintf(t, "behind\t%s, %s%.1f s\n", bytes(r.UnrelayedBytes), r.eventsBehind(), r.LagSeconds)
		if r.StateTopic != "" {
			fmt.Fprintf(t, "state\tin topic %s\n", r.StateTopic)
		}
		fmt.Fprintf(t, "WAL kept\t%s\n", r.kept())
		if r.WALStatus != "missing" && r.WALStatus != "lost" {
			fmt.Fprintf(t, "full in\t%s\n", r.fullIn())
		}
		fmt.Fprintf(t, "events\t%d\n", r.Events)
		fmt.Fprintf(t, "parked\t%d, and %d waiting behind them\n", r.Parked, r.Waiting)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write relays: %w", err)
	}
	return nil
}

// mostEvents is where the counting of rows ends.
const mostEvents = 100_000

func (r *Relay) eventsBehind() string {
	switch {
	case !r.RelaysOutbox:
		return ""
	case r.UnrelayedEvents > mostEvents:
		return fmt.Sprintf("more than %d events of gapless.outbox, ", mostEvents)
	}
	return fmt.Sprintf("%d events of gapless.outbox, ", r.UnrelayedEvents)
}

func (r *Relay) kept() string {
	if r.WALRate == nil {
		return bytes(r.RetainedBytes)
	}
	return fmt.Sprintf("%s; the server writes %s a second", bytes(r.RetainedBytes), Size(int64(*r.WALRate)))
}

// fullIn says when the slot is lost, should the relay let go of nothing.
func (r *Relay) fullIn() string {
	switch {
	case r.SafeWALSize == nil:
		return "unlimited: max_slot_wal_keep_size is -1, and the server's disk is the limit"
	case r.FullIn == nil:
		return "no time that is in sight; " + bytes(r.SafeWALSize) + " are left of max_slot_wal_keep_size"
	}
	return fmt.Sprintf("%s, if nothing more is confirmed: %s are left of max_slot_wal_keep_size", roughly(*r.FullIn), bytes(r.SafeWALSize))
}

// roughly is a duration in its two largest units.
func roughly(seconds float64) string {
	const day = 24 * time.Hour
	if seconds >= 1000*day.Seconds() {
		return "more than 1000 days"
	}
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d >= day:
		return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%d s", d/time.Second)
	}
}

func or(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func bytes(n *int64) string {
	if n == nil {
		return "-"
	}
	return Size(*n)
}

// Size is n bytes in the largest binary unit of which there is one.
func Size(n int64) string {
	v, unit := float64(n), 0
	for v >= 1024 && unit < 4 {
		v, unit = v/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", v, " KMGT"[unit])
}
