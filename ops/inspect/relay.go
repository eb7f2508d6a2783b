package inspect

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

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
	SafeWALSize       *int64     `json:"safe_wal_size,omitempty" db:"safe_wal_size"`         // until the slot is lost
	LagSeconds        float64    `json:"lag_seconds" db:"lag_seconds"`
	Events            int64      `json:"events" db:"events"`
	RelayID           string     `json:"relay_id,omitempty" db:"relay_id"`
	LastCommitAt      *time.Time `json:"last_commit_at,omitempty" db:"last_commit_at"`
	UpdatedAt         *time.Time `json:"updated_at,omitempty" db:"updated_at"`
	Parked            int64      `json:"parked" db:"parked"`
	Waiting           int64      `json:"waiting" db:"waiting"` // behind parked ones, on their keys
	Paused            bool       `json:"paused" db:"paused"`
	PausedBy          string     `json:"paused_by,omitempty" db:"paused_by"`
}

// Relays lists the relays of this database: slots of pgoutput, and stored
// progress, also without the other. An empty slot takes all.
func Relays(ctx context.Context, db DB, slot string) ([]Relay, error) {
	relays, err := list[Relay](ctx, db, "relays", sql.OpsRelays, pgx.StrictNamedArgs{"slot": slot})
	for i := range relays {
		relays[i].State, relays[i].Advice, relays[i].SQL = relays[i].judge()
	}
	return relays, err
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
	case !r.Active && r.ResumeLSN == nil:
		return "never run", "start 'gapless relay'", nil
	case !r.Active:
		return "stopped", "start 'gapless relay': WAL is kept until it runs", nil
	case r.Paused:
		return "paused", "by " + r.PausedBy + "; 'gapless relay resume' lets it go on. WAL is kept meanwhile", nil
	case r.WALStatus == "unreserved":
		return "nearly lost", "the slot is beyond max_slot_wal_keep_size: let the relay catch up now, or raise it", nil
	case r.LagSeconds > lateSeconds:
		return "behind", "if that does not shrink the relay holds for something, such as a topic that is not there: its log and /status of its --ops-listen say for what", nil
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
		fmt.Fprintf(t, "slot\t%s\n", r.Slot)
		fmt.Fprintf(t, "state\t%s\n", r.State)
		if r.Advice != "" {
			fmt.Fprintf(t, "advice\t%s\n", r.Advice)
		}
		for _, statement := range r.SQL {
			fmt.Fprintf(t, "\t%s\n", statement)
		}
		if r.RelayID != "" {
			fmt.Fprintf(t, "relay\t%s\n", r.RelayID)
		}
		fmt.Fprintf(t, "relayed up to\t%s\n", or(r.ResumeLSN))
		fmt.Fprintf(t, "confirmed\t%s\n", or(r.ConfirmedFlushLSN))
		fmt.Fprintf(t, "behind\t%s, %.1f s\n", bytes(r.UnrelayedBytes), r.LagSeconds)
		fmt.Fprintf(t, "WAL kept\t%s\n", bytes(r.RetainedBytes))
		if r.SafeWALSize != nil {
			fmt.Fprintf(t, "lost in\t%s\n", bytes(r.SafeWALSize))
		}
		fmt.Fprintf(t, "events\t%d\n", r.Events)
		fmt.Fprintf(t, "parked\t%d, and %d waiting behind them\n", r.Parked, r.Waiting)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write relays: %w", err)
	}
	return nil
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
