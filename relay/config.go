package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// Config of a Relay. Zero values mean the default; negative durations and
// sizes are refused, except where a field says what they mean.
type Config struct {
	// DatabaseURL of the database with the outbox, as libpq has it. The login
	// needs REPLICATION and the rights of gapless_relay. connect_timeout in it
	// is 10 s by default.
	DatabaseURL string
	// BeforeConnect is pgxpool's: it changes what one connection is made with, such as a
	// password that has been rotated. Nil: the files that DatabaseURL names (passfile,
	// sslcert, sslkey, sslrootcert, service) are read again.
	BeforeConnect func(context.Context, *pgx.ConnConfig) error

	Slot        string // default gapless
	Publication string // default gapless

	// CreateSlot lets a first start make its slot beside others of the
	// publication. Without it the relay takes the name for a mistyped one. Where
	// there is no other slot it makes its own without being told, as long as the
	// tables are empty.
	CreateSlot bool

	// TakeOver tells how far the program that had the slot before has sent of it. It is
	// asked when the slot is free and has no progress record; what it says then holds
	// until its answer is stored. It is believed only where the slot's log bears it out, and
	// never by a Relay that has had a record before. nil: as far as the slot itself says, so what that
	// program had sent and not confirmed comes again.
	TakeOver func(context.Context) (Sent, error)

	// TakeOverTopics takes the slot over by what the topics have: of the rows that the slot
	// still gives, those whose record is at the end of its topic count as sent. The Sink must
	// be a Recaller. As with TakeOver it is for a slot without a progress record; where the
	// process dies before it is past what it has looked at, the next one looks again.
	TakeOverTopics bool

	// Tables maps "schema.table" to its format. Tables of the publication that
	// are not in it: gapless.outbox is Native, gapless.dead_letter DeadLetter,
	// others of schema gapless are left out, all others eventrouter.Config. A nil format
	// leaves a table out. A partition that is not in it is its table.
	Tables map[string]format.Format

	// Messages maps the prefix of transactional logical messages to the options of
	// their records. The content of such a message is a JSON object with the columns
	// of an outbox, see eventrouter.Messages. The prefix EmittedPrefix is the outbox
	// library's and takes no options. Default: none are sent, nor asked for. Postgres
	// lets every login emit messages, until EXECUTE on pg_logical_emit_message is
	// revoked from PUBLIC: who may do that may publish, whatever the rights on tables.
	Messages map[string]eventrouter.Config

	// OnFault is what becomes of rows that cannot be sent, by the fault's reason
	// (format.Reasons); BlockKey where it names none.
	OnFault map[string]Policy

	Retention Retention // default: nothing is removed
	Heartbeat Heartbeat // default: none

	// SignalTable ("schema.table") is a table of the publication by whose rows others
	// speak to the relay, see Signals above; default: none. Its rows are no events. Who may
	// write into it may have the relay run SQL: a filter of a snapshot.
	SignalTable string

	// FilterTimeout bounds each statement that has the filter of a snapshot signal; default 1 min.
	FilterTimeout time.Duration

	Storage Storage // default: schema gapless of the database

	// Sink takes the records. The relay closes it when Run ends.
	Sink Sink

	// ID names this relay in the progress record; default host and process id.
	ID string

	Logger *slog.Logger // default slog.Default

	// Registerer takes the metrics, which stay there: one cannot have a second relay of
	// the same slot. nil: they are kept but not registered.
	Registerer prometheus.Registerer

	MaxRecords    int           // in flight; at most 1048576, default 4096
	MaxBytes      int64         // in flight; default 6 MiB
	ProgressEvery time.Duration // default 250 ms
	ProofEvery    time.Duration // between proofs while events flow; default 10 s
	StopTimeout   time.Duration // for the last acknowledgements; default 8 s
	HoldAfter     time.Duration // without an acknowledgement; default 5 s
	DeadAfter     time.Duration // of silence the server gives the slot to another; at least 3 s, default 12 s, or wal_sender_timeout where lower
	ReconnectMax  time.Duration // longest pause between tries; default 10 s

	Hooks Hooks
}

// Hooks are called by the relay's one goroutine and must return at once. nil
// ones are skipped. They are where spans attach: the context in a record's
// headers is the writer's and is never changed, a span of the relay links to it. Neither
// is called for a row that is parked, nor when it is sent from there.
type Hooks struct {
	Sent  func(*format.Record)
	Acked func(*format.Record, time.Duration) // with the time since its commit
}

func (c Config) withDefaults() Config {
	if c.BeforeConnect == nil {
		c.BeforeConnect = pgconnect.Again(c.DatabaseURL)
	}
	c.Slot = cmp.Or(c.Slot, "gapless")
	c.Publication = cmp.Or(c.Publication, "gapless")
	if c.ID == "" {
		host, _ := os.Hostname() // an unnamed host is named by its process alone
		c.ID = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.MaxRecords = cmp.Or(c.MaxRecords, 4096)
	c.MaxBytes = cmp.Or(c.MaxBytes, 6<<20)
	c.ProgressEvery = cmp.Or(c.ProgressEvery, 250*time.Millisecond)
	c.ProofEvery = cmp.Or(c.ProofEvery, 10*time.Second)
	c.StopTimeout = cmp.Or(c.StopTimeout, 8*time.Second)
	c.HoldAfter = cmp.Or(c.HoldAfter, 5*time.Second)
	c.DeadAfter = cmp.Or(c.DeadAfter, 12*time.Second)
	c.ReconnectMax = cmp.Or(c.ReconnectMax, 10*time.Second)
	c.FilterTimeout = cmp.Or(c.FilterTimeout, filterTime)
	return c
}

func (c Config) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.DatabaseURL == "" {
		fault("DatabaseURL is empty")
	} else if _, err := pgconnect.Parse(c.DatabaseURL); err != nil {
		fault("DatabaseURL: %w", err)
	}
	if err := validatePolicies(c.OnFault); err != nil {
		faults = append(faults, err)
	}
	if err := c.Retention.validate(); err != nil {
		faults = append(faults, err)
	}
	if err := c.Storage.validate(c); err != nil {
		faults = append(faults, err)
	}
	if err := c.Heartbeat.validate(c.Sink); err != nil {
		faults = append(faults, err)
	} else if f := c.stateTopic(c.Heartbeat.Topic); f != nil {
		fault("Heartbeat.Topic: %s", f.Detail)
	}
	if schema, name, ok := strings.Cut(c.SignalTable, "."); c.SignalTable != "" && (!ok || schema == "" || name == "" || ourTable(c.SignalTable)) {
		fault("SignalTable %q is not schema.table of a table of one's own", c.SignalTable)
	} else if c.SignalTable != "" && c.Tables[c.SignalTable] != nil {
		fault("SignalTable %s has a format in Tables: it cannot hold events too", c.SignalTable)
	}
	if c.Retention.Outbox > 0 && c.formatOf("gapless.outbox") == nil {
		fault("Retention.Outbox: gapless.outbox is left out by Tables: its rows are not relayed")
	}
	for table := range c.Retention.Tables {
		if c.formatOf(table) == nil {
			fault("Retention.Tables: %s is left out by Tables: its rows are not relayed", table)
		}
	}
	for prefix, router := range c.Messages {
		if prefix == "" {
			fault("Messages: a prefix is empty")
		}
		if prefix == EmittedPrefix && !reflect.ValueOf(router).IsZero() {
			fault("Messages %s: the outbox library's events take no options", prefix)
		}
		if err := router.Validate(); err != nil {
			fault("Messages %s: %w", prefix, err)
		}
	}
	if c.Sink == nil {
		fault("Sink is nil")
	}
	if _, ok := c.Sink.(Recaller); c.TakeOverTopics && c.Sink != nil && !ok {
		fault("TakeOverTopics: %T does not tell what it has", c.Sink)
	}
	if c.TakeOverTopics && c.TakeOver != nil {
		fault("TakeOverTopics and TakeOver contradict each other")
	}
	if !slotName(c.Slot) {
		fault("Slot %q: 1 to 63 lower-case letters, digits and underscores", c.Slot)
	}
	if len(c.Publication) > 63 {
		fault("Publication %q is longer than 63 bytes", c.Publication)
	}
	if c.MaxRecords < 0 || c.MaxRecords > 1<<20 {
		fault("MaxRecords %d: 1 to 1048576", c.MaxRecords)
	}
	if c.MaxBytes < 0 {
		fault("MaxBytes %d is negative", c.MaxBytes)
	}
	for name, d := range map[string]time.Duration{
		"ProgressEvery": c.ProgressEvery, "ProofEvery": c.ProofEvery, "StopTimeout": c.StopTimeout,
		"HoldAfter": c.HoldAfter, "DeadAfter": c.DeadAfter, "ReconnectMax": c.ReconnectMax, "FilterTimeout": c.FilterTimeout,
	} {
		if d < 0 {
			fault("%s %s is negative", name, d)
		}
	}
	if c.DeadAfter > 0 && c.DeadAfter < leastDead {
		fault("DeadAfter %s is below %s: a turn that takes its time would count as death", c.DeadAfter, leastDead)
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("relay config: %w", errors.Join(faults...))
}

// leastDead is more than burstTime, after which a busy relay still speaks to the server.
const leastDead = 3 * time.Second

// slotName applies Postgres' rule for slot names.
func slotName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

func (c Config) wantsMessages() bool { return len(c.Messages) > 0 }

// events are the tables of which rows are relayed.
func (c Config) events(tables []string) []string {
	return slices.DeleteFunc(slices.Clone(tables), func(t string) bool { return c.formatOf(t) == nil })
}

// leftOut are the tables of which none is.
func (c Config) leftOut() []string {
	names := []string{}
	for t, f := range c.Tables {
		if f == nil {
			names = append(names, t)
		}
	}
	return append(names, c.SignalTable)
}

func (c Config) formatOf(table string) format.Format {
	if f, ok := c.Tables[table]; ok || table == c.SignalTable {
		return f
	}
	switch table {
	case "gapless.outbox":
		return format.Native{}
	case "gapless.dead_letter":
		return format.DeadLetter{}
	}
	if strings.HasPrefix(table, "gapless.") {
		return nil // what a relay writes there must not come out of it
	}
	return eventrouter.Config{}
}
